"""Configuration: read once from the environment, validated at the start, handed on as frozen dataclasses."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mistudio_servicekit.storage import Store

T = TypeVar("T")

HUB_ENDPOINT = "https://huggingface.co"


class ConfigError(Exception):
    """A variable is missing or wrong; the text names it."""


class Environment:
    """Typed reading of `MISTUDIO_…` variables.

    Args:
        variables: usually `os.environ`; anything else in tests.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str | None = None) -> str:
        """The variable's value, or `default`; without a default it must be set."""
        value = self._variables.get(name, "")
        if value:
            return value
        if default is None:
            raise ConfigError(f"{name} is not set; set it in the environment of this process")
        return default

    def parsed(self, name: str, parse: Callable[[str], T], default: str | None, expected: str) -> T:
        """The variable's value through `parse`; its ValueError becomes a `ConfigError` that says what is `expected`."""
        value = self.text(name, default)
        try:
            return parse(value)
        except ValueError:
            raise ConfigError(f"{name} is {value!r}; expected {expected}") from None

    def integer(self, name: str, default: int, *, least: int = 0) -> int:
        """The variable as a whole number of at least `least`."""

        def parse(value: str) -> int:
            number = int(value)
            if number < least:
                raise ValueError
            return number

        return self.parsed(name, parse, str(default), f"a whole number of at least {least}")

    def boolean(self, name: str) -> bool:
        """Whether the variable is `true`; it is `false` where it is not set."""

        def parse(value: str) -> bool:
            if value.lower() not in ("true", "false"):
                raise ValueError
            return value.lower() == "true"

        return self.parsed(name, parse, "false", "true or false")

    def address(self, name: str, default: str) -> str:
        """The variable as `host:port`."""

        def parse(value: str) -> str:
            host, _, port = value.rpartition(":")
            if not host or not 0 <= int(port) <= 65535:
                raise ValueError
            return value

        return self.parsed(name, parse, default, "host:port, for example 127.0.0.1:50051")

    def secret(self, name: str) -> str:
        """The variable's value, or the content of the file that `<name>_FILE` names; never part of an error."""
        file = self._variables.get(f"{name}_FILE", "")
        if not file:
            return self.text(name)
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{name}_FILE names {file!r}, which cannot be read: {error.strerror}") from None

    def store(self) -> Store:
        """The shared store, from `MISTUDIO_STORE_DIR` and `MISTUDIO_STORE_QUOTA_BYTES`."""
        quota = self.integer("MISTUDIO_STORE_QUOTA_BYTES", 0)
        return Store(Path(self.text("MISTUDIO_STORE_DIR")).absolute(), quota or None)

    def keys(self) -> tuple[bytes, ...]:
        """The keys that seal secrets, newest first: base64 of 32 bytes each, separated by whitespace (at most two)."""
        keys = []
        for line in self.secret("MISTUDIO_SECRET_KEY").split():
            try:
                keys.append(base64.b64decode(line, validate=True))
            except binascii.Error:
                keys.append(b"")
        if not 1 <= len(keys) <= 2 or any(len(key) != 32 for key in keys):
            raise ConfigError("MISTUDIO_SECRET_KEY must hold one or two keys, each the base64 of 32 bytes")
        return tuple(keys)


@dataclass(frozen=True)
class ServerConfig:
    """Where a process listens.

    Attributes:
        listen: `host:port` of gRPC; port 0 takes a free one.
        metrics_listen: `host:port` of /metrics and /healthz.
        drain_seconds: longest wait for running calls when the process is asked to stop.
    """

    listen: str
    metrics_listen: str
    drain_seconds: float = 10.0
    max_connection_age_seconds: int = 3600

    @staticmethod
    def read(environment: Environment, *, port: int, metrics_port: int) -> ServerConfig:
        """From the variables `MISTUDIO_…` named below; the ports are defaults on 127.0.0.1."""
        return ServerConfig(
            listen=environment.address("MISTUDIO_LISTEN", f"127.0.0.1:{port}"),
            metrics_listen=environment.address("MISTUDIO_METRICS_LISTEN", f"127.0.0.1:{metrics_port}"),
            drain_seconds=environment.integer("MISTUDIO_DRAIN_SECONDS", 10),
            max_connection_age_seconds=environment.integer("MISTUDIO_MAX_CONNECTION_AGE_SECONDS", 3600, least=1),
        )
