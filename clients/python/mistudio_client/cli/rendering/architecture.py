"""A model's layers and the places where activations are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mistudio.models.v2 import architecture_pb2
from mistudio_client.cli.rendering.facts import Facts, known_count
from mistudio_client.cli.rendering.formats import number

LAYER_COLUMNS = ("layer", "module", "class", "parameters", "experts", "hook points")
LAYER_NUMERIC = "layer parameters experts"
HOOK_COLUMNS = ("layer", "hook point", "module", "side", "width")
HOOK_NUMERIC = "layer width"


def architecture_facts(found: architecture_pb2.ModelArchitecture) -> Facts:
    """Everything about an architecture but its layers."""
    return [
        ("architecture", found.architecture or found.model_type),
        ("parameters", known_count(found.parameters)),
        ("hidden size", known_count(found.hidden_size)),
        ("vocabulary", known_count(found.vocabulary_size)),
        ("layers", known_count(len(found.layers))),
        ("attention and MLP", "side by side" if found.parallel_layers else "one after the other"),
        ("embeddings", found.embedding_path),
        ("final norm", found.final_norm_path),
        ("unembedding", found.unembedding_path + (" (shares the embeddings' weights)" * found.tied_embeddings)),
        ("extraction", _suitability(found.extraction)),
        ("SAE training", _suitability(found.sae_training)),
    ]


def layer_row(layer: architecture_pb2.ModelLayer) -> Sequence[str]:
    """A layer's cells for `LAYER_COLUMNS`."""
    kinds = ", ".join(map(_kind, layer.hook_points))
    figures = (number(layer.parameters), known_count(layer.experts))
    return (number(layer.index), layer.module_path, layer.module_class, *figures, kinds)


def hook_rows(found: architecture_pb2.ModelArchitecture) -> Iterator[Sequence[str]]:
    """The cells of every hook point for `HOOK_COLUMNS`."""
    for layer in found.layers:
        for point in layer.hook_points:
            side = architecture_pb2.HookSide.Name(point.side).removeprefix("HOOK_SIDE_").lower()
            yield (number(layer.index), _kind(point), point.module_path, side, number(point.width))


def _kind(point: architecture_pb2.HookPoint) -> str:
    return architecture_pb2.HookPointKind.Name(point.kind).removeprefix("HOOK_POINT_KIND_").lower()


def _suitability(found: architecture_pb2.Suitability) -> str:
    return ": ".join(part for part in ("yes" if found.suitable else "no", "; ".join(found.reasons)) if part)
