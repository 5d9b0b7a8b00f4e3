"""What may be loaded: models that have weights, and none that runs strangers' code without leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mistudio_models.domain.models import Model, WeightFiles
from mistudio_models.domain.policy import Policy
from mistudio_servicekit.errors import MistudioError, PickleRefused, RemoteCodeRefused, WeightsMissing

_FILES = {
    WeightFiles.NONE: "no weights at all",
    WeightFiles.OTHER: "weights only in formats that are not loaded here (GGUF, ONNX, TensorFlow, Flax and the like)",
}


@dataclass(frozen=True)
class Source:
    """What of a model decides whether it may be loaded, be it here or on the Hub.

    Attributes:
        name: what errors call it, in words that begin a sentence.
        weight_files: what its weights are kept in.
        needs_remote_code: whether loading it needs code from its repository.
        metadata: of errors.
        is_here: whether it was brought in: its pickles, where it has some, were asked for then.
    """

    name: str
    weight_files: WeightFiles
    needs_remote_code: bool
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_here: bool = False

    @classmethod
    def here(cls, model: Model) -> Source:
        """A model that was brought in."""
        name, facts = f"Model {model.id} ({model.repo_id})", model.facts
        return cls(name, facts.weight_files, facts.needs_remote_code, {"subject": f"model/{model.id}"}, is_here=True)

    @classmethod
    def on_hub(cls, repo_id: str, weight_files: WeightFiles, *, needs_remote_code: bool) -> Source:
        """A model on the Hub."""
        return cls(f"The model repository {repo_id!r}", weight_files, needs_remote_code, {"id": repo_id})


def require_loadable(model: Model, policy: Policy, *, trust_remote_code: bool) -> None:
    """Raise unless the model has weights and neither they nor its code are refused.

    Raises:
        WeightsMissing: it has none that can be loaded.
        PickleRefused: they are pickles, which the operator does not allow.
        RemoteCodeRefused: it needs code of its repository, which the request or the operator does not allow.
    """
    requested = Policy(allow_remote_code=trust_remote_code)
    for obstacle in obstacles(Source.here(model), requested=requested, permitted=policy):
        raise obstacle


def obstacles(source: Source, *, requested: Policy, permitted: Policy) -> Iterator[MistudioError]:
    """Why a model may not be loaded: what `require_loadable` raises, each error with what to do.

    Args:
        source: the model.
        requested: what requests ask for.
        permitted: what the operator allows.
    """
    if source.weight_files in _FILES:
        yield WeightsMissing(
            f"{source.name} has {_FILES[source.weight_files]}",
            next_step="Download a repository or revision that has its weights as safetensors",
            metadata=source.metadata,
        )
        return
    pickles_asked = source.is_here or requested.allow_pickle
    if source.weight_files is WeightFiles.PICKLE and not (pickles_asked and permitted.allow_pickle):
        yield _pickles(source, requested=pickles_asked, permitted=permitted.allow_pickle)
    if source.needs_remote_code and not (requested.allow_remote_code and permitted.allow_remote_code):
        yield _own_code(source, requested=requested.allow_remote_code, permitted=permitted.allow_remote_code)


def _pickles(source: Source, *, requested: bool, permitted: bool) -> PickleRefused:
    missing = [] if requested else ["set allow_pickle in its download"]
    if not permitted:
        missing.append("have the operator set MISTUDIO_ALLOW_PICKLE to true")
    return PickleRefused(
        f"{source.name} has its weights as pickles only, which can run code when read",
        next_step=f"Download a revision with safetensors, or {' and '.join(missing)}",
        field="" if requested else "allow_pickle",
        metadata=source.metadata,
    )


def _own_code(source: Source, *, requested: bool, permitted: bool) -> RemoteCodeRefused:
    missing = [] if requested else ["set trust_remote_code in the request"]
    if not permitted:
        missing.append("have the operator set MISTUDIO_ALLOW_REMOTE_CODE to true")
    who = "the request does not allow" if not requested else "the operator does not allow"
    who = "neither the request nor the operator allows" if len(missing) == 2 else who
    return RemoteCodeRefused(
        f"{source.name} needs code from its repository, which {who}",
        next_step=f"If you trust that code, {' and '.join(missing)}; otherwise choose a model without code of its own",
        field="" if requested else "trust_remote_code",
        metadata=source.metadata,
    )
