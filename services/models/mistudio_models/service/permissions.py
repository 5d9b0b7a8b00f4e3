"""What may be loaded: models that have weights, and none that runs strangers' code without leave."""

from __future__ import annotations

from mistudio_models.domain.models import Model, WeightFiles
from mistudio_models.domain.policy import Policy
from mistudio_servicekit.errors import PickleRefused, RemoteCodeRefused, WeightsMissing

_FILES = {WeightFiles.NONE: "no weights at all", WeightFiles.OTHER: "weights in formats only that are not loaded here"}


def require_loadable(model: Model, policy: Policy, *, trust_remote_code: bool) -> None:
    """Raise unless the model has weights and neither they nor its code are refused.

    Raises:
        WeightsMissing: it has none that can be loaded.
        PickleRefused: they are pickles, which the operator does not allow.
        RemoteCodeRefused: it needs code of its repository, which the request or the operator does not allow.
    """
    weights, subject = model.facts.weight_files, {"subject": f"model/{model.id}"}
    if weights in _FILES:
        raise WeightsMissing(
            f"Model {model.id} ({model.repo_id}) has {_FILES[weights]}",
            next_step="Download a repository or revision that has its weights as safetensors",
            metadata=subject,
        )
    if weights is WeightFiles.PICKLE and not policy.allow_pickle:
        raise PickleRefused(
            f"Model {model.id} ({model.repo_id}) has its weights as pickles only, which can run code when read",
            next_step="Download a revision with safetensors, or have the operator set MISTUDIO_ALLOW_PICKLE to true",
            metadata=subject,
        )
    if model.facts.needs_remote_code:
        _require_trust(model, policy, trust_remote_code)


def _require_trust(model: Model, policy: Policy, trust_remote_code: bool) -> None:
    missing = [] if trust_remote_code else ["set trust_remote_code in the request"]
    if not policy.allow_remote_code:
        missing.append("have the operator set MISTUDIO_ALLOW_REMOTE_CODE to true")
    if not missing:
        return
    who = "the request does not allow" if not trust_remote_code else "the operator does not allow"
    who = "neither the request nor the operator allows" if len(missing) == 2 else who
    raise RemoteCodeRefused(
        f"Model {model.id} ({model.repo_id}) needs code from its repository, which {who}",
        next_step=f"If you trust that code, {' and '.join(missing)}; otherwise choose a model without code of its own",
        field="" if trust_remote_code else "trust_remote_code",
        metadata={"subject": f"model/{model.id}"},
    )
