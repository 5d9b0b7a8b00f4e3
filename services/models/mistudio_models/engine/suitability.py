"""What a model can be used for, with the reasons in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mistudio_models.domain.architecture import HookPointKind, Suitability
from mistudio_models.engine.layers import Layers

NARROW = 64
"""A residual stream of fewer dimensions is that of a toy."""


@dataclass(frozen=True)
class Findings:
    """What is known of a model's fitness.

    Attributes:
        found: its layers.
        inputs: arguments of its forward pass.
        quantization: of its files; empty where their weights are not quantized.
        own_code: whether the repository brings code of its own.
    """

    found: Layers
    inputs: Sequence[str]
    quantization: str
    own_code: bool


def extraction(findings: Findings) -> Suitability:
    """Whether activations can be extracted."""
    obstacles = tuple(_obstacles(findings))
    return Suitability(not obstacles, (*obstacles, *_caveats(findings)))


def sae_training(findings: Findings, extraction: Suitability) -> Suitability:
    """Whether sparse autoencoders can be trained on the activations."""
    reasons = [] if extraction.suitable else ["Activations cannot be extracted from it"]
    if 0 < findings.found.width < NARROW:
        reasons.append(
            f"Its residual stream is only {findings.found.width} wide: enough to try things out, too narrow for much"
        )
    return Suitability(extraction.suitable, tuple(reasons))


def _obstacles(findings: Findings) -> Iterator[str]:
    found = findings.found
    if "input_ids" not in findings.inputs:
        yield f"It reads {findings.inputs[0] if findings.inputs else 'nothing'}, not the tokens of a text"
    if "decoder_input_ids" in findings.inputs:
        listed = f"; the layers listed are those of {found.stack}" if found.stack else ""
        yield f"It is an encoder-decoder model, whose decoder reads a second text beside the first{listed}"
    if not found.stack:
        yield "No list of layers was found that pass a residual stream of [batch, tokens, width] to each other"
    elif not found.proven:
        yield (
            f"Its forward pass could not be followed ({found.problem}), so no hook point is proven; the layers were "
            "found by their structure, and what goes into them and comes out is only likely to be the residual stream"
        )
    elif not any(point.kind is HookPointKind.RESID_POST for layer in found.layers for point in layer.hook_points):
        yield "None of its layers has a place where the residual stream can be read"


def _caveats(findings: Findings) -> Iterator[str]:
    found = findings.found
    yield from (f"{_named(layers, len(found.layers))}: {note}" for note, layers in _by_note(found.notes))
    if findings.quantization:
        yield f"Its weights are quantized ({findings.quantization}): activations are those of the quantized model"
    if findings.own_code:
        yield "The repository brings code of its own; these are the layers of the installed code for its model type"


def _by_note(notes: Sequence[Sequence[str]]) -> Iterable[tuple[str, list[int]]]:
    layers: dict[str, list[int]] = {}
    for layer, known in enumerate(notes):
        for note in known:
            layers.setdefault(note, []).append(layer)
    return layers.items()


def _named(layers: Sequence[int], total: int) -> str:
    """Layers in words: `Every layer`, `Layer 3`, `Layers 0-2, 5`."""
    if len(layers) == total:
        return "Every layer"
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    ranges = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    return f"{'Layer' if len(layers) == 1 else 'Layers'} {ranges}"
