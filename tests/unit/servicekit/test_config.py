"""A wrong variable stops the start with an error that names it."""

import base64
from pathlib import Path

import pytest

from mistudio_servicekit.config import ConfigError, Environment, ServerConfig


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="MISTUDIO_X"):
        Environment({}).text("MISTUDIO_X")


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_wrong_number_is_named_with_its_value(value: str) -> None:
    with pytest.raises(ConfigError, match=f"MISTUDIO_N is '{value}'"):
        Environment({"MISTUDIO_N": value}).integer("MISTUDIO_N", 1)


@pytest.mark.parametrize("value", ["50051", "host:", ":1", "host:99999"])
def test_a_wrong_address_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match="MISTUDIO_LISTEN"):
        ServerConfig.read(Environment({"MISTUDIO_LISTEN": value}), port=1, metrics_port=2)


def test_defaults_listen_on_this_machine_only() -> None:
    config = ServerConfig.read(Environment({}), port=50051, metrics_port=9101)
    assert (config.listen, config.metrics_listen) == ("127.0.0.1:50051", "127.0.0.1:9101")


@pytest.mark.parametrize(("value", "told"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_a_switch_is_on_only_where_it_is_said_to_be(value: str, told: bool) -> None:
    assert Environment({"MISTUDIO_SWITCH": value}).boolean("MISTUDIO_SWITCH") is told


@pytest.mark.parametrize("value", ["1", "yes", "on", "truly"])
def test_a_switch_that_is_neither_on_nor_off_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=r"MISTUDIO_SWITCH is .* expected true or false"):
        Environment({"MISTUDIO_SWITCH": value}).boolean("MISTUDIO_SWITCH")


def test_keys_come_from_a_file_newest_first(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    new, old = b"n" * 32, b"o" * 32
    file.write_text(f"{base64.b64encode(new).decode()}\n{base64.b64encode(old).decode()}\n")
    assert Environment({"MISTUDIO_SECRET_KEY_FILE": str(file)}).keys() == (new, old)


def test_a_wrong_key_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        Environment({"MISTUDIO_SECRET_KEY": "hunter2"}).keys()
    assert "hunter2" not in str(caught.value)
