"""Models whose files are complete."""

from __future__ import annotations

from mistudio_models.domain.models import Model, ModelStatus
from mistudio_servicekit.errors import ModelNotReady

_NEXT_STEPS = {
    ModelStatus.DOWNLOADING: "Wait until its download is done",
    ModelStatus.ERROR: "Download it again once that is mended",
    ModelStatus.CANCELLED: "Download it again",
}


def require_ready(model: Model) -> Model:
    """`model`, whose files must be complete.

    Raises:
        ModelNotReady: they are not.
    """
    if model.status is ModelStatus.READY:
        return model
    why = f": {model.error['problem']}" if model.error else ""
    raise ModelNotReady(
        f"Model {model.id} ({model.repo_id}) is {model.status}, not READY{why}",
        next_step=_NEXT_STEPS[model.status],
        metadata={"subject": f"model/{model.id}"},
    )
