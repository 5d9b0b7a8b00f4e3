"""The equations of the residual stream, checked with numbers: real models, real forward passes, real hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import torch

from mistudio_models.domain.architecture import Architecture, HookPointKind, Layer
from mistudio_models.engine.hooks import hook

PRE, MID, POST = HookPointKind.RESID_PRE, HookPointKind.RESID_MID, HookPointKind.RESID_POST
ATTENTION, MLP = HookPointKind.ATTN_OUT, HookPointKind.MLP_OUT
BATCH, TOKENS = 2, 9

Activations = Mapping[HookPointKind, torch.Tensor]


def unlike_fresh(model: torch.nn.Module) -> torch.nn.Module:
    """The model with weights off their first values, so that no norm is the identity by accident."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


def broken_equations(
    model: torch.nn.Module, architecture: Architecture, norms: tuple[str, str] | None = None
) -> list[str]:
    """The equations that do not hold; empty for hook points that are what they are said to be.

    Args:
        model: with real weights.
        architecture: of it.
        norms: paths in a layer of the norms after attention and after the MLP, where the stream goes through them.
    """
    with ExitStack() as hooks:
        layers = [_read(model, layer, hooks) for layer in architecture.layers]
        hidden_states = _hidden_states(model, architecture)
    broken = list(_against_hidden_states(model, architecture, layers, hidden_states))
    for layer, activations in zip(architecture.layers, layers, strict=True):
        within = _after_norms(model, layer, activations, norms) if norms else _sums(activations)
        shapes = _shapes(layer, activations)
        broken.extend(f"layer {layer.index}: {name}" for name, holds in [*within, *shapes] if not holds)
    return broken


def _read(model: torch.nn.Module, layer: Layer, hooks: ExitStack) -> dict[HookPointKind, torch.Tensor]:
    activations: dict[HookPointKind, torch.Tensor] = {}
    for point in layer.hook_points:

        def keep(tensor: torch.Tensor, kind: HookPointKind = point.kind) -> None:
            assert kind not in activations, f"{kind} was read twice"
            activations[kind] = _by_token(tensor.detach().clone())

        hooks.callback(hook(model.get_submodule(point.module_path), point.side, keep).remove)
    return activations


def _by_token(tensor: torch.Tensor) -> torch.Tensor:
    """[batch, tokens, width], also where the module has batch and tokens in one (OPT)."""
    return tensor if tensor.dim() == 3 else tensor.view(BATCH, TOKENS, -1)


def _hidden_states(model: torch.nn.Module, architecture: Architecture) -> Sequence[torch.Tensor]:
    tokens = torch.randint(0, architecture.vocabulary_size, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states: Sequence[torch.Tensor] = model(input_ids=tokens, output_hidden_states=True).hidden_states
    return states


def _against_hidden_states(
    model: torch.nn.Module,
    architecture: Architecture,
    layers: Sequence[Activations],
    hidden_states: Sequence[torch.Tensor],
) -> Iterator[str]:
    final = model.get_submodule(architecture.final_norm_path) if architecture.final_norm_path else torch.nn.Identity()
    for index, activations in enumerate(layers):
        with torch.no_grad():
            post = activations[POST] if index + 1 < len(layers) else final(activations[POST])
        if not _same(activations[PRE], hidden_states[index]):
            yield f"layer {index}: resid_pre == hidden_states[{index}]"
        if not _same(post, hidden_states[index + 1]):
            yield f"layer {index}: resid_post == hidden_states[{index + 1}]"
        if index and not _same(activations[PRE], layers[index - 1][POST]):
            yield f"layer {index}: resid_pre == resid_post of the layer before"


def _sums(found: Activations) -> Iterator[tuple[str, bool]]:
    if MID in found and ATTENTION in found:
        yield "resid_mid == resid_pre + attn_out", _same(found[MID], found[PRE] + found[ATTENTION])
    if MID in found and MLP in found:
        yield (
            "resid_post == resid_mid + mlp_out",
            _same(found[POST], found[MID] + found[MLP]),
        )
    if MID not in found and ATTENTION in found and MLP in found:
        yield (
            "resid_post == resid_pre + attn_out + mlp_out",
            _same(found[POST], found[PRE] + found[ATTENTION] + found[MLP]),
        )
    if MID not in found and (ATTENTION in found) != (MLP in found):
        alone = found.get(ATTENTION, found.get(MLP))
        assert alone is not None
        yield "resid_post == resid_pre + what is added alone", _same(found[POST], found[PRE] + alone)


def _after_norms(
    model: torch.nn.Module, layer: Layer, found: Activations, norms: tuple[str, str]
) -> Iterator[tuple[str, bool]]:
    first, second = (model.get_submodule(f"{layer.module_path}.{norm}") for norm in norms)
    with torch.no_grad():
        yield "resid_mid == norm(resid_pre + attn_out)", _same(found[MID], first(found[PRE] + found[ATTENTION]))
        yield "resid_post == norm(resid_mid + mlp_out)", _same(found[POST], second(found[MID] + found[MLP]))


def _shapes(layer: Layer, found: Activations) -> Iterator[tuple[str, bool]]:
    for point in layer.hook_points:
        yield f"{point.kind} is {point.width} wide", found[point.kind].shape == (BATCH, TOKENS, point.width)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal up to the last digits, and not because both are zero."""
    alike = one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    return alike and bool(one.abs().max() > 0)
