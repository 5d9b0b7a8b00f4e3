"""What a model is: from its configuration, its weight headers and the names of its files; no weights are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# This table alone: the module that re-exports it brings torch along.
from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

from mistudio_hub.formats import is_other_format, is_pickle, is_safetensors
from mistudio_models.domain.models import ModelFacts, WeightFiles
from mistudio_models.engine.dialects import LanguageConfig
from mistudio_models.engine.headers import stored_tensors
from mistudio_models.engine.prequantized import parameters_by_dtype, quantization
from mistudio_models.engine.source import ModelSource, read_json

_TOKENIZER_FILES = frozenset(
    {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json"}
)
_CHAT_TEMPLATE_FILES = frozenset({"chat_template.jinja", "chat_template.json"})
_TOKENIZER_CONFIG = "tokenizer_config.json"
# Files are written with sorted keys: what follows the (long) list of added tokens lies near the end.
_TOKENIZER_CONFIG_TAIL_BYTES = 256 * 1024
_FORMATS = (
    (is_safetensors, WeightFiles.SAFETENSORS),
    (is_pickle, WeightFiles.PICKLE),
    (is_other_format, WeightFiles.OTHER),
)
_MOST_TEXT = 256
_CHAT_TEMPLATE_KEY = re.compile(rb'(?<!\\)"chat_template"\s*:\s*["\[{]')


def model_facts(source: ModelSource) -> ModelFacts:
    """What the model in `source` is.

    Raises:
        MalformedFile: its configuration or weight headers do not parse.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="facts") as readers:
        reading = readers.submit(read_json, source, "config.json")
        looking = readers.submit(_has_chat_template, source)
        tensors = stored_tensors(source)
        config, has_chat_template = reading.result(), looking.result()
    language = LanguageConfig(config)
    return ModelFacts(
        architecture=_architecture(config),
        model_type=_text(config.get("model_type")),
        parameters_by_dtype=parameters_by_dtype(tensors, config),
        layers=language.layers,
        hidden_size=language.hidden_size,
        attention_heads=language.attention_heads,
        key_value_heads=language.key_value_heads,
        context_length=language.context_length,
        vocabulary_size=language.vocabulary_size,
        has_tokenizer=not _TOKENIZER_FILES.isdisjoint(source.sizes),
        has_chat_template=has_chat_template,
        needs_remote_code=needs_remote_code(config),
        head_size=language.head_size,
        intermediate_size=language.intermediate_size,
        experts=language.experts,
        quantization=quantization(config),
        weight_files=weight_format(source.sizes),
    )


def weight_format(paths: Iterable[str]) -> WeightFiles:
    """What the weights among the files `paths` are kept in: the safest of the formats that there are."""
    files = list(paths)
    for holds, kept_in in _FORMATS:
        if any(map(holds, files)):
            return kept_in
    return WeightFiles.NONE


def _text(value: Any) -> str:
    """`value` where it can be a name, otherwise nothing: whoever wrote it may have written anything."""
    return value if isinstance(value, str) and len(value) <= _MOST_TEXT and value.isprintable() else ""


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return _text(named[0]) if isinstance(named, list) and named else ""


def _has_chat_template(source: ModelSource) -> bool:
    if not _CHAT_TEMPLATE_FILES.isdisjoint(source.sizes):
        return True
    size = source.sizes.get(_TOKENIZER_CONFIG, 0)
    start = max(0, size - _TOKENIZER_CONFIG_TAIL_BYTES)
    tail = source.read(_TOKENIZER_CONFIG, start, size - start) if size else b""
    return bool(_CHAT_TEMPLATE_KEY.search(tail))


def needs_remote_code(config: Mapping[str, Any]) -> bool:
    """Whether the repository brings code for a model type that the installed transformers does not know."""
    return bool(config.get("auto_map")) and _text(config.get("model_type")) not in CONFIG_MAPPING_NAMES
