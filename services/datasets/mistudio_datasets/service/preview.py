"""A look at what settings do to a few rows, before a tokenization is started."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from mistudio_datasets.domain.datasets import require_ready
from mistudio_datasets.domain.previews import Preview, PreviewInput
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_datasets.service import datasets
from mistudio_datasets.service.sample_requests import check_offset
from mistudio_datasets.service.sequences import most_tokens
from mistudio_datasets.service.settings import check_settings, require_tokenizer, settle
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.storage import Area

DEFAULT_ROWS = 5
MOST_ROWS = 50


@dataclass(frozen=True)
class PreviewRequest:
    """Rows to preview; see `PreviewTokenizationRequest` for the meaning of each field."""

    dataset_id: UUID
    model_id: UUID
    settings: TokenizationSettings
    offset: int = 0
    page_size: int = 0
    max_tokens: int = 0


async def preview(tools: Tools, request: PreviewRequest) -> tuple[Preview, TokenizationSettings]:
    """A few rows as a tokenization would store them, and the settings with every default filled in.

    Raises:
        InvalidArgument: the request itself is wrong.
        DatasetNotFound, DatasetNotReady, SplitNotFound, DatasetEmpty, TextColumnMissing, ConversationMissing: the
            dataset forbids it.
        ModelNotFound, ModelNotReady, TokenizerMissing, TokenizerInvalid, ChatTemplateMissing: the model forbids it.
        TimedOut, OutOfMemory: the rows are too much for a preview.
        Unavailable: the models service cannot be reached, or the tokenizer process was lost.
    """
    rows = PageRequest(page_size=request.page_size).size(DEFAULT_ROWS, MOST_ROWS)
    offset, max_tokens = check_offset(request.offset), most_tokens(request.max_tokens)
    check_settings(request.settings)
    dataset = await datasets.get(tools, request.dataset_id)
    require_ready(dataset)
    model = await tools.models.get(request.model_id)
    require_tokenizer(model)
    settings = await settle(tools, dataset, model, request.settings)
    wanted = PreviewInput(
        dataset_folder=tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch),
        model_folder=tools.store.epoch(Area.MODELS, model.id, model.epoch),
        settings=settings,
        offset=offset,
        rows=rows,
        max_tokens=max_tokens,
    )
    return await tools.tokenizers.preview(wanted), settings
