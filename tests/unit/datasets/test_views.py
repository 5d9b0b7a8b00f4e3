import pytest

from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewMode
from mistudio_servicekit.errors import InvalidArgument

PACKED, WINDOWS = ViewMode
NOWHERE, DOCUMENT, SEQUENCE = SpecialTokenPolicy


@pytest.mark.parametrize(
    ("view", "room"),
    [
        (View(PACKED, 8), 8),
        (View(PACKED, 8, bos=DOCUMENT, eos=DOCUMENT), 8),
        (View(PACKED, 8, bos=SEQUENCE, eos=DOCUMENT), 7),
        (View(WINDOWS, 8, bos=DOCUMENT), 7),
        (View(WINDOWS, 8, bos=SEQUENCE, eos=DOCUMENT), 6),
    ],
)
def test_every_sequence_has_room_beside_the_special_tokens_it_may_hold(view: View, room: int) -> None:
    view.check()
    assert (view.room, view.step) == (room, room)


@pytest.mark.parametrize(
    ("view", "field"),
    [
        (View(PACKED, 1), "context_length"),
        (View(PACKED, 1_048_577), "context_length"),
        (View(PACKED, 2, bos=SEQUENCE, eos=SEQUENCE), "context_length"),
        (View(PACKED, 8, stride=4), "stride"),
        (View(PACKED, 8, first_window_only=True), "first_window_only"),
        (View(PACKED, 8, min_tokens=2), "min_tokens"),
        (View(WINDOWS, 8, stride=-1), "stride"),
        (View(WINDOWS, 8, min_tokens=9), "min_tokens"),
    ],
)
def test_a_view_that_cannot_be_names_its_field_and_value(view: View, field: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"view\.{field} is {getattr(view, field)}") as caught:
        view.check()
    assert caught.value.field == f"view.{field}"


def test_a_view_survives_json_and_equal_views_have_equal_digests() -> None:
    view = View(WINDOWS, 8, stride=3, bos=SEQUENCE, min_tokens=2)
    assert View.from_json(view.to_json()) == view
    assert View.from_json(view.to_json()).digest() == view.digest() != View(WINDOWS, 8).digest()
