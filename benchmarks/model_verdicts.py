"""Whether a GPU's room is judged as a load then shows: `python -m benchmarks.model_verdicts FORMAT DEVICE FOLDER`.

torch is given half of the memory that is predicted, then twice as much. Prints for each as JSON whether the verdict
and the load agree.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from benchmarks.model_loading import load
from mistudio_models.domain.loading import Device, Host, HostState
from mistudio_models.domain.weights import LoadSettings, Need, WeightFormat
from mistudio_models.engine.allocator import give_back_memory
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.memory import needs
from mistudio_models.engine.outline import read_outline
from mistudio_models.engine.proof import TOKENS
from mistudio_models.service.verdicts import Target, Verdict, device_verdict
from mistudio_servicekit.errors import OutOfMemory

SHARES = (0.5, 2.0)


def _agreements(format_: str, device: str, folder: str) -> list[bool]:
    settings, place = LoadSettings(WeightFormat(format_)).settled({}), Path(folder)
    outline = read_outline(FolderSource(place))
    (need,) = needs(outline, [settings], batch_size=1, sequence_length=TOKENS, device_type="cuda")
    total = torch.cuda.get_device_properties(device).total_memory
    agreements = []
    for share in SHARES:
        room = int(share * need.peak_bytes)
        torch.cuda.set_per_process_memory_fraction(room / total, device)
        agreements.append(_fits(need, device, room) == _loads(place, settings, device))
    return agreements


def _fits(need: Need, device: str, room_bytes: int) -> bool:
    seen = Device(device, "", total_bytes=room_bytes, free_bytes=room_bytes)
    host = Host("bench", "gpu", "", HostState((seen,), budget_bytes=room_bytes, models=()))
    return device_verdict(need, [], Target(host, seen)).verdict is not Verdict.WONT_FIT


def _loads(folder: Path, settings: LoadSettings, device: str) -> bool:
    try:
        load(folder, settings, device)
    except OutOfMemory:
        return False
    finally:
        give_back_memory()
    return True


if __name__ == "__main__":
    print(json.dumps(_agreements(*sys.argv[1:])))
