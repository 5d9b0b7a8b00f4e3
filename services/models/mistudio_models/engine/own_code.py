"""Models whose repository brings the code for them, which runs only where request and operator allow it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.outline import Outline
from mistudio_servicekit.errors import ArchitectureUnsupported, RemoteCodeRefused

_AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModel")
_OF_ANOTHER_REPOSITORY = "--"


def own_skeleton(source: FolderSource, outline: Outline, dtype: torch.dtype, *, allowed: bool) -> Any:
    """The model on the meta device, from the code in its folder; None where installed code knows its type.

    Args:
        source: its folder.
        outline: of the model.
        dtype: that it is loaded in.
        allowed: whether its code may run.

    Raises:
        RemoteCodeRefused: it needs its own code, which is not allowed.
        ArchitectureUnsupported: its code lies in another repository, or has no language model.
    """
    classes = outline.config.get("auto_map")
    if outline.model_type in CONFIG_MAPPING or not isinstance(classes, dict):
        return None
    if not allowed:
        raise RemoteCodeRefused(
            f"The model type {outline.model_type!r} needs code from the model's repository, which is not allowed",
            next_step="If you trust that code, set trust_remote_code, and have the operator set "
            "MISTUDIO_ALLOW_REMOTE_CODE to true; otherwise choose a model without code of its own",
            field="trust_remote_code",
        )
    reference = next((str(classes[name]) for name in _AUTO_CLASSES if name in classes), "")
    if not reference or _OF_ANOTHER_REPOSITORY in "".join(map(str, classes.values())):
        raise ArchitectureUnsupported(
            f"The repository's code for the model type {outline.model_type!r} lacks a language model, or lies in "
            f"another repository ({', '.join(map(str, classes.values()))})",
            next_step="Choose a repository that holds all of the model's code, or a model that needs none",
        )
    return _built(str(source.folder), reference, dtype)


def _built(folder: str, reference: str, dtype: torch.dtype) -> Any:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    model_class: Any = get_class_from_dynamic_module(reference, folder, local_files_only=True)
    config.dtype = dtype
    with torch.device("meta"):
        return model_class(config).eval()
