"""A short forward pass proves that a loaded model works."""

from __future__ import annotations

import time
from typing import Any

import torch

from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_servicekit.errors import InvalidArgument, MalformedFile, MistudioError

TOKENS = 8
"""Tokens that are run through a model to prove it."""


def prove(model: Any, settings: LoadSettings) -> float:
    """Run a few tokens through the model, and return the seconds that it took.

    Args:
        model: on its device, in evaluation mode.
        settings: that it was loaded with.

    Raises:
        InvalidArgument: its numbers grow too large for the 16-bit floats of `settings`.
        MalformedFile: it computes what is no number, although its format holds every number that its files hold.
    """
    tokens = torch.arange(TOKENS, device=model.device).remainder(model.config.get_text_config().vocab_size)[None]
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = tokens
    started = time.monotonic()
    # Not in inference mode: what a layer computes once and keeps could never take part in a backward pass then.
    with torch.no_grad():
        finite = bool(torch.isfinite(model(**inputs)[0]).all())
    if not finite:
        raise _not_finite(settings)
    return time.monotonic() - started


def _not_finite(settings: LoadSettings) -> MistudioError:
    # The 8-bit layers of bitsandbytes compute with 16-bit floats, whatever their input is.
    in_fp16 = settings.compute_dtype is ComputeDtype.FP16 or settings.format is WeightFormat.INT8
    if not in_fp16:
        return MalformedFile(
            f"Held in {settings} the model computes infinities, or what is no number",
            next_step="Choose another revision, or tell the repository's owner: its weights are damaged",
        )
    remedy = "FP16" if settings.format is WeightFormat.FP16 else "a computation in FP16"
    return InvalidArgument(
        f"Held in {settings} the model computes infinities, or what is no number: {remedy} ends at 65,504",
        next_step="Load it in BF16 or FP32"
        + (", or let its 4-bit weights compute in BF16 or FP32" if settings.format.is_four_bit else ""),
        field="settings.format",
    )
