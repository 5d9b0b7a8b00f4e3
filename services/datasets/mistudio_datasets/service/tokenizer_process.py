"""The process that tokenizes for the service, which itself stays small and quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from mistudio_datasets.domain.previews import Preview, PreviewInput
from mistudio_jobs.questions import QuestionProcess, QuestionSettings, Wording

_REQUESTS = "mistudio_datasets.data.tokens.tokenizer_requests"
_PRELOAD = ("transformers.models.auto.tokenization_auto", "transformers.utils.chat_template_utils")
"""Takes seconds to import, which is not counted as time of a request."""

_WORDING = Wording(
    process="tokenizer process",
    work="Tokenizing",
    things="rows",
    when_slow="Ask for fewer rows; if few take so long as well, the model's chat template may not end",
    when_large="Ask for fewer rows, or for others",
)


class TokenizerProcess:
    """Tokenizes in a child process, inside its block; see `QuestionProcess`.

    Args:
        log_level: of the child.
        seconds: the longest that a request may take, once its turn has come.
        memory_bytes: the most that the child may use.
    """

    def __init__(self, log_level: str, seconds: float = 20.0, memory_bytes: int = 4 << 30) -> None:
        self._process = QuestionProcess(
            QuestionSettings(
                module=_REQUESTS,
                wording=_WORDING,
                process="datasets-tokenizer",
                log_level=log_level,
                preload=_PRELOAD,
                seconds=seconds,
                memory_bytes=memory_bytes,
            )
        )

    async def encode(self, model_folder: Path, text: str) -> Sequence[int]:
        """See `Tokenizers.encode`."""
        answer = await self._process.ask("encode", {"model_folder": str(model_folder), "text": text})
        ids: list[int] = answer["ids"]
        return ids

    async def preview(self, wanted: PreviewInput) -> Preview:
        """See `Tokenizers.preview`."""
        return Preview.from_json(await self._process.ask("preview", wanted.to_json()))

    async def __aenter__(self) -> Self:
        await self._process.__aenter__()
        return self

    async def __aexit__(self, *exit_arguments: object) -> None:
        """End the child."""
        await self._process.__aexit__(*exit_arguments)
