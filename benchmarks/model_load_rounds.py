"""A model loaded and let go again and again by one contender.

`python -m benchmarks.model_load_rounds {ours|peer} FORMAT DEVICE FOLDER` prints every `Round` as JSON. The peer is
`from_pretrained` with the quantization that ours has, and the forward pass that ours is proved with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM

from mistudio_models.domain.weights import LoadSettings, WeightFormat
from mistudio_models.engine.allocator import give_back_memory
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.measuring import PeakMemory, weights_bytes
from mistudio_models.engine.outline import read_outline
from mistudio_models.engine.proof import prove
from mistudio_models.engine.quantizing import load_dtype, quantization_config
from mistudio_models.engine.skeleton import skeleton

ROUNDS = 3


@dataclass(frozen=True)
class Round:
    """One load.

    Attributes:
        seconds: of the load and of a short forward pass.
        peak_bytes: the highest of both above what there was before: of a GPU what torch's allocator handed out, of a
            CPU the resident memory.
        load_peak_bytes: the highest of the load alone, as a worker measures it; 0 of the peer.
        weights_bytes: of the loaded weights.
        left_bytes: that there are once the model is let go.
    """

    seconds: float
    peak_bytes: int
    load_peak_bytes: int
    weights_bytes: int
    left_bytes: int


def _ours(folder: Path, settings: LoadSettings, device: str) -> Round:
    # Imported here as it sets switches that the peer does without.
    from benchmarks.model_loading import load

    with PeakMemory(torch.device(device)) as peak:
        loaded = load(folder, settings, device)
    seconds, memory = loaded.load_seconds, loaded.memory
    del loaded
    load_peak, weights = memory.measured_load_peak_bytes, memory.measured_weights_bytes
    return Round(seconds, peak.bytes, load_peak, weights, _left_bytes(device))


def _peer(folder: Path, settings: LoadSettings, device: str) -> Round:
    config = _quantization(folder, settings, device)
    with PeakMemory(torch.device(device)) as peak:
        begun = perf_counter()
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=load_dtype(settings), device_map={"": device}, quantization_config=config
        )
        prove(model, settings)
        seconds = perf_counter() - begun
    weights = weights_bytes(model)
    del model
    return Round(seconds, peak.bytes, 0, weights, _left_bytes(device))


def _quantization(folder: Path, settings: LoadSettings, device: str) -> Any:
    """The `BitsAndBytesConfig` that our loader gives as well; None for plain formats."""
    model = skeleton(read_outline(FolderSource(folder)), load_dtype(settings))
    return quantization_config(model, settings, torch.device(device).type)


def _left_bytes(device: str) -> int:
    give_back_memory()
    where = torch.device(device)
    return torch.cuda.memory_allocated(where) if where.type == "cuda" else psutil.Process().memory_info().rss


_CONTENDERS: Mapping[str, Callable[[Path, LoadSettings, str], Round]] = {"ours": _ours, "peer": _peer}


def _rounds(contender: str, format_: str, device: str, folder: str) -> list[Round]:
    settings = LoadSettings(WeightFormat(format_)).settled({})
    return [_CONTENDERS[contender](Path(folder), settings, device) for _ in range(ROUNDS)]


if __name__ == "__main__":
    print(json.dumps([asdict(each) for each in _rounds(*sys.argv[1:])]))
