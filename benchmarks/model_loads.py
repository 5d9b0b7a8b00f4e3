"""Loading a model of 300 MB against transformers' `from_pretrained`, on the CPU and on a GPU where there is one.

Each loads in a process of its own. Of the rounds of each the median counts, so that what a process does once does not.
Plain weights on the CPU are no race: there the peer leaves them in their file, mapped into memory, where we read them.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.made_models import made_model
from benchmarks.model_load_rounds import ROUNDS, Round
from benchmarks.model_shapes import BF16, INT8, NF4
from benchmarks.own_process import in_own_process
from benchmarks.report import Row, median, show
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.memory import needs
from mistudio_models.engine.outline import read_outline
from mistudio_models.engine.proof import TOKENS

MODEL = {
    "vocab_size": 16_000,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 10,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
FORMATS = (BF16, INT8, NF4)
PEER, MAPPING_PEER = "from_pretrained", "from_pretrained, mapped"
MOST_SECONDS, MOST_PEAK = 1.2, 1.1
WEIGHTS_ERROR, PEAK_ERROR, MOST_LEFT = 0.02, 0.1, 0.01


def main() -> None:
    show("model-loads", measure())


def measure() -> list[Row]:
    """Every format on every kind of device."""
    with tempfile.TemporaryDirectory(prefix="bench-loads-") as name:
        folder = made_model("llama", Path(name), **MODEL)
        devices = ("cpu", "cuda:0") if torch.cuda.is_available() else ("cpu",)
        return [row for device in devices for settings in FORMATS for row in _rows(folder, settings, device)]


def _rows(folder: Path, settings: LoadSettings, device: str) -> list[Row]:
    work = f"load {settings.format} on {device}"
    where = settings.format.value, device, str(folder)
    ours, peer = (_rounds(contender, *where) for contender in ("ours", "peer"))
    mapped = device == "cpu" and not settings.format.is_quantized
    beside = _beside(work, ours, peer, MAPPING_PEER) if mapped else _against_peer(work, ours, peer)
    rows = [*beside, *_against_prediction(work, ours, _need(folder, settings, device))]
    return [*rows, _verdicts(work, *where)] if device != "cpu" else rows


def _rounds(contender: str, *where: str) -> list[Round]:
    return [Round(**each) for each in in_own_process("benchmarks.model_load_rounds", contender, *where)]


def _against_peer(work: str, ours: list[Round], peer: list[Round]) -> list[Row]:
    seconds, peak = _beside(work, ours, peer, PEER)
    return [_at_most(MOST_SECONDS, seconds), _at_most(MOST_PEAK, peak)]


def _beside(work: str, ours: list[Round], peer: list[Round], mark: str) -> list[Row]:
    """Median seconds and megabytes, without a target."""
    seconds, of_peer = [each.seconds for each in ours], median(each.seconds for each in peer)
    peak, peak_of_peer = (median(each.peak_bytes for each in rounds) / 1e6 for rounds in (ours, peer))
    return [
        Row(work, median(seconds), "s", mark, of_peer, "", True, max(seconds) - min(seconds)),
        Row(f"{work}, peak", peak, "MB", mark, peak_of_peer, "", True),
    ]


def _at_most(most: float, row: Row) -> Row:
    return replace(row, target=f"≤ {most} × peer", met=row.ratio <= most)


def _against_prediction(work: str, ours: list[Round], need: Need) -> list[Row]:
    weights, peak = ours[0].weights_bytes / 1e6, median(each.load_peak_bytes for each in ours) / 1e6
    expected, expected_peak = need.weights_bytes / 1e6, need.load_peak_bytes / 1e6
    exact, close = abs(expected / weights - 1) <= WEIGHTS_ERROR, abs(expected_peak / peak - 1) <= PEAK_ERROR
    kept = (ours[-1].left_bytes - ours[0].left_bytes) / 1e6
    return [
        Row(f"{work}, weights predicted", expected, "MB", "measured", weights, "within 2 %", exact),
        Row(f"{work}, peak predicted", expected_peak, "MB", "measured", peak, "within 10 %", close),
        Row(f"{work}, left by {ROUNDS - 1} more", kept, "MB", "weights", weights, "≤ 1 %", kept <= MOST_LEFT * weights),
    ]


def _verdicts(work: str, *where: str) -> Row:
    agreements = in_own_process("benchmarks.model_verdicts", *where)
    held, all_ = sum(agreements), len(agreements)
    return Row(f"{work}, verdicts as loads show", held, "", "tried", all_, "all", held == all_)


def _need(folder: Path, settings: LoadSettings, device: str) -> Need:
    outline, kind = read_outline(FolderSource(folder)), torch.device(device).type
    (need,) = needs(outline, [settings], batch_size=1, sequence_length=TOKENS, device_type=kind)
    return need


if __name__ == "__main__":
    main()
