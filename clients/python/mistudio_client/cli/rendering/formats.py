"""Figures and foreign text as people read them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MOST_SPELLED_OUT = 1e15


def byte_size(size: float) -> str:
    """Bytes in decimal units, as the Hub shows them: `91.0 MB`."""
    power = 0
    while abs(size) >= 999.95 and power < len(_BYTE_UNITS) - 1:
        size /= 1000
        power += 1
    return f"{size:.1f} {_BYTE_UNITS[power]}" if power else f"{size:.0f} B"


def number(value: float) -> str:
    """A count with separated thousands, or a figure with one decimal: `12,345`, `17.3`."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def quantity(value: float, unit: str) -> str:
    """`value` counted in `unit`, where `bytes` are shown as a size."""
    return byte_size(value) if unit == "bytes" else f"{number(round(value))} {unit}"


def duration(seconds: float) -> str:
    """A time span: `0.8 s`, `42 s`, `3:05`, `2:03:05`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(time: Timestamp) -> str:
    """A point in time, UTC; empty where it is not set."""
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if time.seconds else ""


def visible(text: str) -> str:
    """`text` with every control character spelled out, so that foreign text cannot steer a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def visible_lines(text: str) -> str:
    """As `visible`, but lines stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def figure(value: float) -> str:
    """A number as data holds it: counts with separated thousands, others with six digits at most."""
    return number(value) if float(value).is_integer() and abs(value) < _MOST_SPELLED_OUT else f"{value:.6g}"


def share(part: float, whole: float) -> str:
    """`part` as a percentage of `whole`; empty where there is nothing."""
    return f"{100 * part / whole:.1f} %" if whole else ""


def shortened(text: str, width: int) -> str:
    """At most `width` characters of `text`; a cut is marked."""
    return text if len(text) <= width else text[: width - 1] + "…"
