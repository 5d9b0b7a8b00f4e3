"""InspectModel's lookup of a model of one file and of one of 100, against what `huggingface_hub` offers for the same.

Both ask one mirror, which serves from this process and counts what it sends of files.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

from benchmarks.made_models import made_model
from benchmarks.own_process import in_own_process
from benchmarks.report import Row, median, percentile, show
from mistudio_local.hub_mirror import HubMirror
from mistudio_local.hub_mirror.background import mirror_in_background

ROUNDS, SHARDS = 20, 100
LIMIT_SECONDS, LIMIT_MEGABYTES = 1.0, 1.0
REPOSITORIES = {"bench/one": "1 file", "bench/many": f"{SHARDS} files"}
PEER = "huggingface_hub"


def main() -> None:
    show("model-inspection", measure())


def measure() -> list[Row]:
    """Seconds and megabytes of a lookup, for both repositories."""
    with tempfile.TemporaryDirectory(prefix="bench-inspection-") as folder:
        root = Path(folder)
        made_model("llama", root / "models/bench/one", num_hidden_layers=24, hidden_size=256)
        _split(made_model("llama", root / "models/bench/many", num_hidden_layers=80, hidden_size=256))
        with mirror_in_background(root) as mirror:
            return [row for repo_id in REPOSITORIES for row in _rows(mirror, repo_id)]


def _rows(mirror: HubMirror, repo_id: str) -> list[Row]:
    ours, our_megabytes = _look_up(mirror, "ours", repo_id)
    peer, peer_megabytes = _look_up(mirror, "peer", repo_id)
    work, fits = f"inspect a model of {REPOSITORIES[repo_id]}", our_megabytes <= LIMIT_MEGABYTES
    middle, p95, spread = median(ours), percentile(ours, 95), max(ours) - min(ours)
    return [
        Row(f"{work}, median", middle, "s", PEER, median(peer), "≤ 1 s", middle <= LIMIT_SECONDS, spread),
        Row(f"{work}, p95", p95, "s", PEER, percentile(peer, 95), "≤ 1 s", p95 <= LIMIT_SECONDS),
        Row(f"{work}, fetched", our_megabytes, "MB", PEER, peer_megabytes, "≤ 1 MB", fits),
    ]


def _look_up(mirror: HubMirror, contender: str, repo_id: str) -> tuple[list[float], float]:
    """Seconds of every lookup, and the megabytes that one fetches of the repository's files."""
    before, rounds = mirror.faults.bytes_sent(), ROUNDS + 1
    seconds = in_own_process("benchmarks.model_lookups", contender, mirror.url, repo_id, str(rounds))
    fetched = (mirror.faults.bytes_sent() - before) / rounds
    # The first is not timed: for it the mirror computes its checksums, and libraries import what they put off.
    return seconds[1:], fetched / 1e6


def _split(folder: Path) -> None:
    """Spread the model's one file over `SHARDS` with an index, as `save_pretrained` names them."""
    whole = folder / "model.safetensors"
    tensors, shards = load_file(whole), dict[str, str]()
    names = sorted(tensors)
    for number in range(SHARDS):
        shard, held = f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors", names[number::SHARDS]
        save_file({name: tensors[name] for name in held}, folder / shard)
        shards |= dict.fromkeys(held, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    whole.unlink()


if __name__ == "__main__":
    main()
