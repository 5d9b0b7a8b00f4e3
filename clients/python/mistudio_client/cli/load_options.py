"""Options that say how a model is held in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from mistudio.models.v2 import weights_pb2
from mistudio_client.cli.choices import COMPUTE_DTYPES, WEIGHT_FORMATS

double_quantization_option = click.option(
    "--double-quantization", is_flag=True, help="Quantize the quantization's constants as well, for fp4 and nf4."
)
compute_dtype_option = click.option(
    "--compute-dtype",
    type=click.Choice(list(COMPUTE_DTYPES)),
    help="What it computes in; by default bf16 for quantized weights, otherwise as the weights.",
)


def load_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command's parameter `settings`, a `LoadSettings`, or None where no option says anything."""

    @click.option("--format", "form", type=click.Choice(list(WEIGHT_FORMATS)), help="How its weights are held.")
    @double_quantization_option
    @compute_dtype_option
    @functools.wraps(command)
    def run(form: str | None, double_quantization: bool, compute_dtype: str | None, **options: Any) -> None:
        said = form or double_quantization or compute_dtype
        settings = load_settings(form, double_quantization, compute_dtype) if said else None
        command(settings=settings, **options)

    return run


def load_settings(form: str | None, double_quantization: bool, compute_dtype: str | None) -> weights_pb2.LoadSettings:
    """The settings that options name."""
    return weights_pb2.LoadSettings(
        format=WEIGHT_FORMATS[form] if form else weights_pb2.WEIGHT_FORMAT_UNSPECIFIED,
        double_quantization=double_quantization,
        compute_dtype=COMPUTE_DTYPES[compute_dtype] if compute_dtype else weights_pb2.COMPUTE_DTYPE_UNSPECIFIED,
    )
