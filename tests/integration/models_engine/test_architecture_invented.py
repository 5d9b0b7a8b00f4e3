"""Layers of no known family, with names of their own: found by what they do, and nothing claimed that does not hold."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from mistudio_models.domain.architecture import HookPointKind, HookSide
from mistudio_models.engine.following import followed
from mistudio_models.engine.layers import CHANGED_BETWEEN, Layers, find_layers

WIDTH = 16
PRE, MID, POST = HookPointKind.RESID_PRE, HookPointKind.RESID_MID, HookPointKind.RESID_POST
ATTENTION, MLP = HookPointKind.ATTN_OUT, HookPointKind.MLP_OUT


class Look(nn.Module):
    """Attention by another name, which gives more than its result."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(WIDTH, 3 * WIDTH)
        self.back = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, v = self.wide(x).chunk(3, dim=-1)
        scores = (q @ k.transpose(-1, -2)).softmax(-1)
        return self.back(scores @ v), scores


class Think(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 40)
        self.down = nn.Linear(40, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.down(self.up(x).relu())
        return y


class Piece(nn.Module):
    """A layer that `step` runs."""

    def __init__(self, step: Callable[["Piece", torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.look = nn.LayerNorm(WIDTH), Look()
        self.second, self.think = nn.LayerNorm(WIDTH), Think()
        self.drop = nn.Dropout(0.5)
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(self, x)


class Invented(nn.Module):
    def __init__(
        self, step: Callable[[Piece, torch.Tensor], torch.Tensor], layers: int = 2, between: float = 1.0
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(50, WIDTH)
        self.pieces = nn.ModuleList([Piece(step) for _ in range(layers)])
        self.last = nn.LayerNorm(WIDTH)
        self.between = between

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids)
        for piece in self.pieces:
            x = piece(x) * self.between if self.between != 1 else piece(x)
        y: torch.Tensor = self.last(x)
        return y


def found(step: Callable[[Piece, torch.Tensor], torch.Tensor], **arguments: float) -> Layers:
    with torch.device("meta"):
        return find_layers(Invented(step, **arguments), 0)  # type: ignore[arg-type]  # whole numbers are floats too


def points(layers: Layers) -> Mapping[HookPointKind, tuple[str, HookSide]]:
    first = layers.layers[0]
    return {
        point.kind: (point.module_path.removeprefix(first.module_path).removeprefix("."), point.side)
        for point in first.hook_points
    }


def in_sequence(piece: Piece, x: torch.Tensor) -> torch.Tensor:
    middle = piece.drop(piece.look(piece.first(x))[0]) + x
    y: torch.Tensor = middle + piece.think(piece.second(middle))
    return y


def test_layers_are_found_whatever_they_are_called():
    layers = found(in_sequence)
    assert (layers.stack, layers.final_norm, layers.width) == ("pieces", "last", WIDTH)
    assert [layer.module_class for layer in layers.layers] == ["Piece", "Piece"]
    assert points(layers) == {
        PRE: ("", HookSide.INPUT),
        ATTENTION: ("look", HookSide.OUTPUT),
        MID: ("second", HookSide.INPUT),
        MLP: ("think", HookSide.OUTPUT),
        POST: ("", HookSide.OUTPUT),
    }


def test_adding_in_place_is_seen_like_any_other_addition():
    def step(piece: Piece, x: torch.Tensor) -> torch.Tensor:
        made = piece.think(piece.second(x))
        flat = made.view(-1, WIDTH)
        flat += piece.look(piece.first(x))[0].reshape(-1, WIDTH)
        made += x
        y: torch.Tensor = made
        return y

    layers = found(step)
    assert layers.parallel
    assert points(layers).keys() == {PRE, ATTENTION, MLP, POST}


def test_what_is_added_times_a_factor_is_not_claimed():
    def step(piece: Piece, x: torch.Tensor) -> torch.Tensor:
        middle = x + piece.look(piece.first(x))[0] / 4
        y: torch.Tensor = middle + piece.think(piece.second(middle))
        return y

    layers = found(step)
    assert points(layers).keys() == {PRE, MID, MLP, POST}
    assert "0.25 times the output of look" in layers.notes[0][0]


def test_a_stream_that_is_itself_scaled_is_no_sum():
    def step(piece: Piece, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = 0.5 * x + piece.think(piece.second(x))
        return y

    assert points(found(step)).keys() == {PRE, POST}


def test_moving_tokens_is_not_taken_for_an_mlp():
    def step(piece: Piece, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + piece.think(piece.first(x).roll(1, dims=1))
        return y

    assert points(found(step)).keys() == {PRE, POST}


def test_a_middle_that_no_module_reads_is_not_claimed():
    def step(piece: Piece, x: torch.Tensor) -> torch.Tensor:
        middle = x + piece.look(piece.first(x))[0]
        y: torch.Tensor = middle + piece.think(middle.sigmoid())
        return y

    layers = found(step)
    assert points(layers).keys() == {PRE, ATTENTION, MLP, POST}
    assert not layers.parallel
    assert layers.notes[0] == ("resid_mid is left out, as no module gives exactly that",)


def test_a_module_that_is_run_twice_in_a_layer_is_no_hook_point():
    def step(piece: Piece, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + piece.think(piece.think(piece.first(x)))
        return y

    assert points(found(step)).keys() == {PRE, MLP, POST} - {MLP}


def test_a_stream_that_is_changed_between_every_two_layers_makes_no_stack():
    assert found(in_sequence, layers=3, between=0.5).stack == ""


def test_a_stream_that_is_changed_once_between_layers_is_noted_there():
    class Halving(Invented):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            x = self.words(input_ids)
            for index, piece in enumerate(self.pieces):
                x = piece(x / 2 if index == 2 else x)
            y: torch.Tensor = self.last(x)
            return y

    with torch.device("meta"):
        layers = find_layers(Halving(in_sequence, layers=4), 0)
    assert layers.notes == ((), (), (CHANGED_BETWEEN,), ())


def test_a_model_is_left_as_it_was():
    with torch.device("meta"):
        model = Invented(in_sequence)
    find_layers(model, 0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_forward_pass_without_end_is_given_up():
    class Endless(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            while True:
                input_ids = input_ids + 1

    assert "more operations" in followed(Endless(), [], most_operations=500).problem
