"""How much memory a model needs, predicted beside measured, and whether it fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from mistudio.models.v2 import models_service_pb2, weights_pb2
from mistudio_client.cli.rendering.facts import Facts, known_count, known_size, problem_facts
from mistudio_client.cli.rendering.formats import byte_size, number
from mistudio_client.cli.rendering.models import settings_text
from mistudio_client.cli.rendering.tables import show_facts, show_table

_COLUMNS = ("format", "weights", "measured", "loading", "measured", "running", "keys+values", "activations")
_NUMERIC = "weights measured loading running keys+values activations"
_VERDICT_COLUMNS = ("format", "verdict", "needs", "has", "device", "worker", "remedy")
_VERDICTS = {
    weights_pb2.VERDICT_FITS: ("fits", "green"),
    weights_pb2.VERDICT_TIGHT: ("tight", "yellow"),
    weights_pb2.VERDICT_WONT_FIT: ("won't fit", "red"),
    weights_pb2.VERDICT_NOT_LOADABLE: ("can't load", "red"),
}


def show_estimates(console: Console, answer: models_service_pb2.EstimateMemoryResponse) -> None:
    """Print what stands in the way of a load, what each setting needs, then whether it fits each device; of a single
    setting also what stays as it is.
    """
    show_facts(console, [*problem_facts(answer.load_problems), *_workload(answer)])
    console.print()
    show_table(console, _COLUMNS, map(_estimate_row, answer.estimates), _NUMERIC)
    verdicts = [_verdict_row(each, verdict) for each in answer.estimates for verdict in each.verdicts]
    console.print()
    if verdicts:
        show_table(console, _VERDICT_COLUMNS, verdicts, "needs has")
    else:
        console.print("No worker is there that could hold a model.", soft_wrap=True)
    if len(answer.estimates) == 1:
        show_unquantized(console, answer.estimates[0].unquantized)


def show_unquantized(console: Console, modules: Iterable[weights_pb2.UnquantizedModules]) -> None:
    """Print which modules a quantization leaves as they are, and why."""
    facts = [(each.path, f"{_size(each)}: {each.reason}") for each in modules]
    if facts:
        console.print()
        console.print(Text("not quantized", style="bold"))
        show_facts(console, facts)


def _size(modules: weights_pb2.UnquantizedModules) -> str:
    count = f"{number(modules.modules)} module{'' if modules.modules == 1 else 's'}"
    return f"{count}, {number(modules.parameters)} parameters, {byte_size(modules.bytes)}"


def _workload(answer: models_service_pb2.EstimateMemoryResponse) -> Facts:
    by_headers = any(each.basis == "headers" for each in answer.estimates)
    return [
        ("parameters", known_count(answer.parameters)),
        ("batch", number(answer.batch_size)),
        ("sequence length", number(answer.sequence_length)),
        ("computed", "from the weight headers alone: no installed code knows the architecture" if by_headers else ""),
    ]


def _estimate_row(estimate: weights_pb2.MemoryEstimate) -> Sequence[str]:
    measured = estimate.measurements[0] if estimate.measurements else weights_pb2.MemoryMeasurement()
    return (
        settings_text(estimate.settings),
        byte_size(estimate.weights_bytes),
        known_size(measured.measured_weights_bytes),
        byte_size(estimate.load_peak_bytes),
        known_size(measured.measured_load_peak_bytes),
        byte_size(estimate.run_peak_bytes),
        byte_size(estimate.key_value_bytes),
        byte_size(estimate.activation_bytes),
    )


def _verdict_row(estimate: weights_pb2.MemoryEstimate, verdict: weights_pb2.DeviceVerdict) -> Sequence[str | Text]:
    text, style = _VERDICTS.get(verdict.verdict, (str(verdict.verdict), ""))
    return (
        settings_text(estimate.settings),
        Text(text, style=style),
        byte_size(verdict.needed_bytes),
        byte_size(verdict.available_bytes),
        device_text(verdict.device),
        verdict.worker,
        _advice(verdict),
    )


def _advice(verdict: weights_pb2.DeviceVerdict) -> str:
    """What to do, and the reason where the figures beside it do not tell it."""
    if verdict.verdict == weights_pb2.VERDICT_NOT_LOADABLE:
        return f"{verdict.reason}. {verdict.remedy}."
    hopeless = verdict.verdict == weights_pb2.VERDICT_WONT_FIT and not verdict.remedy
    return verdict.reason if hopeless else verdict.remedy


def device_text(device: weights_pb2.Device) -> str:
    """A device by its id and what it is: `cuda:0 NVIDIA H200`."""
    return f"{device.id} {device.name}".strip()
