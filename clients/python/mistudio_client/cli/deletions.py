"""What became of a batch of resources that were to be deleted, as it is told."""

from __future__ import annotations

from mistudio.datasets.v1.datasets_service_pb2 import BatchDeleteDatasetsResponse
from mistudio.models.v2.models_service_pb2 import BatchDeleteModelsResponse
from mistudio_client.cli.failures import CommandFailed
from mistudio_client.cli.session import Session


def tell_deletions(
    session: Session, answer: BatchDeleteDatasetsResponse | BatchDeleteModelsResponse, noun: str
) -> None:
    """Tell what was deleted; the rest is told on stderr and by the exit status.

    Args:
        session: of the command.
        answer: the service's.
        noun: what one of the resources is called.

    Raises:
        CommandFailed: some were not deleted.
    """
    deleted, refused = len(answer.deleted_ids), len(answer.failures)
    session.output.done(answer, f"Deleted {deleted} {noun}{'' if deleted == 1 else 's'}.")
    for failure in answer.failures:
        session.output.note(f"{failure.id}: {failure.error.message}")
    if refused:
        raise CommandFailed(f"{refused} of {deleted + refused} {noun}s were not deleted.")
