"""What a client may change of a resource by hand."""

import pytest

from mistudio_servicekit.changes import Change
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import InvalidArgument, MissingField


def test_only_named_fields_change() -> None:
    change = Change("dataset", new_id(), ("name",), "New", {"a": "b"})
    assert change.values() == {"name": "New"}
    with pytest.raises(MissingField):
        Change("dataset", new_id(), ("name",), "  ", {}).values()


def test_what_else_a_resource_lets_change_is_named_like_name_and_labels() -> None:
    change = Change("model", new_id(), ("settings", "name"), "New", {}, others={"settings": 7, "more": 8})
    assert change.values() == {"settings": 7, "name": "New"}
    with pytest.raises(InvalidArgument, match="Name name or labels or settings"):
        Change("model", new_id(), ("status",), "New", {}, others={"settings": 7}).values()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (Change("model", new_id(), (), "New", {}), "update_mask"),
        (Change("model", new_id(), ("name", "status"), "New", {}), "update_mask"),
        (Change("model", new_id(), ("name",), "New\0", {}), "model.name"),
        (Change("model", new_id(), ("name",), "two\nlines", {}), "model.name"),
        (Change("model", new_id(), ("name",), "x" * 257, {}), "model.name"),
        (Change("model", new_id(), ("name",), "two\nlines", {}), "model.name"),
        (Change("model", new_id(), ("name",), "x" * 257, {}), "model.name"),
        (Change("model", new_id(), ("labels",), "", {str(number): "" for number in range(65)}), "model.labels"),
        (Change("model", new_id(), ("labels",), "", {" ": "blue"}), "model.labels"),
        (Change("model", new_id(), ("labels",), "", {"team": "x" * 253}), "model.labels['team']"),
        (Change("model", new_id(), ("labels",), "", {"team": "two\nlines"}), "model.labels['team']"),
        (Change("model", new_id(), ("labels",), "", {"te\tam": "blue"}), "model.labels['te\\tam']"),
        (Change("model", new_id(), ("labels",), "", {" ": "blue"}), "model.labels"),
        (Change("model", new_id(), ("labels",), "", {"team": "x" * 253}), "model.labels['team']"),
        (Change("model", new_id(), ("labels",), "", {"team": "two\nlines"}), "model.labels['team']"),
        (Change("model", new_id(), ("labels",), "", {"te\tam": "blue"}), "model.labels['te\\tam']"),
    ],
)
def test_a_wrong_change_names_its_field(change: Change, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        change.values()
    assert caught.value.field == field
