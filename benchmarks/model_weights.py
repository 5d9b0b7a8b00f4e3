"""By how much the bytes of weights are predicted wrong, by us and by `accelerate estimate-memory`.

`python -m benchmarks.model_weights {families|8b}` prints both errors as JSON. The peer's own calculation runs on the
same configuration; its question whether the Hub knows the model is answered here.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from accelerate.commands import estimate

from benchmarks.made_models import made_model
from benchmarks.model_loading import load
from benchmarks.model_shapes import LLAMA_8B, NF4, SETTINGS, outline_of
from mistudio_models.domain.weights import WeightFormat
from mistudio_models.engine.memory import needs
from tests.model_families import FAMILIES

# The peer has no other words.
_DTYPES: Mapping[WeightFormat, str] = {
    WeightFormat.FP32: "float32",
    WeightFormat.FP16: "float16",
    WeightFormat.BF16: "float16",
    WeightFormat.INT8: "int8",
    WeightFormat.NF4: "int4",
    WeightFormat.FP4: "int4",
}
_FEW_WORDS = 1024
_BF16_BYTES = 2


Errors = tuple[float, float]
"""By how many percent the bytes of a model's weights were predicted too high, by us and by the peer."""


def worst_of_families() -> Errors:
    """The worst over tiny models of all families, each loaded in every format on the CPU, as they are without sign."""
    errors = [each for family in FAMILIES for each in _of_family(family)]
    return max(abs(ours) for ours, _ in errors), max(abs(peer) for _, peer in errors)


def _of_family(family: str) -> Iterator[Errors]:
    with tempfile.TemporaryDirectory(prefix="bench-weights-") as name:
        folder = made_model(family, Path(name))
        peer = _of_peer(folder)
        for settings in SETTINGS:
            memory = load(folder, settings).memory
            ours = memory.predicted_weights_bytes
            yield _errors(memory.measured_weights_bytes, ours, peer[_DTYPES[settings.format]])


def of_8b_in_nf4() -> Errors:
    """Those for an 8B model. It is not loaded whole: one of its layers is, and what is around them with few words."""
    around, with_a_layer = _taken(layers=0), _taken(layers=1)
    # The words' vectors stay plain: those that go in, and those that come out.
    more_words = 2 * (LLAMA_8B["vocab_size"] - _FEW_WORDS) * LLAMA_8B["hidden_size"] * _BF16_BYTES
    taken = around + LLAMA_8B["num_hidden_layers"] * (with_a_layer - around) + more_words
    (need,) = needs(outline_of(LLAMA_8B), [NF4], batch_size=1, sequence_length=1, device_type="cpu")
    with tempfile.TemporaryDirectory(prefix="bench-weights-") as name:
        Path(name, "config.json").write_text(json.dumps(LLAMA_8B))
        return _errors(taken, need.weights_bytes, _of_peer(Path(name))[_DTYPES[NF4.format]])


def _errors(taken: float, ours: float, peer: float) -> Errors:
    """The errors of two predictions of the bytes that were taken."""
    return 100 * (ours - taken) / taken, 100 * (peer - taken) / taken


def _taken(*, layers: int) -> int:
    """Bytes that the 8B model takes in NF4 with so many layers and few words."""
    own = {key: value for key, value in LLAMA_8B.items() if key != "model_type"}
    with tempfile.TemporaryDirectory(prefix="bench-weights-") as name:
        folder = made_model("llama", Path(name), **{**own, "num_hidden_layers": layers, "vocab_size": _FEW_WORDS})
        return load(folder, NF4).memory.measured_weights_bytes


def _of_peer(folder: Path) -> Mapping[str, float]:
    """Bytes of the weights by the peer's word for a format."""
    asked = Namespace(
        model_name=str(folder),
        library_name="transformers",
        trust_remote_code=False,
        dtypes=sorted(set(_DTYPES.values())),
    )
    known = SimpleNamespace(config={})
    with patch.object(estimate, "verify_on_hub", lambda *_: known), redirect_stdout(io.StringIO()):
        return {dtype: total for dtype, _, total, _ in estimate.gather_data(asked)}


_MODELS: Mapping[str, Callable[[], Errors]] = {"families": worst_of_families, "8b": of_8b_in_nf4}

if __name__ == "__main__":
    print(json.dumps(_MODELS[sys.argv[1]]()))
