"""Messages that ask for an end. They take the urgent lane: a stop must not queue behind what it stops."""

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import Lane
from quarterdeck.contracts.orders import TerminateRequest
from quarterdeck.core.store import RawEntry


def stop_command(tenant: str, command_id: str, attempt: int) -> RawEntry:
    message = TerminateRequest(tenant=tenant, command_id=command_id)
    return RawEntry(
        subjects.command(tenant, Lane.URGENT), f"{command_id}-terminate-{attempt}", codec.encode(message)
    )


def stop_batch(tenant: str, batch_id: str) -> RawEntry:
    message = TerminateRequest(tenant=tenant, batch_id=batch_id)
    return RawEntry(subjects.command(tenant, Lane.URGENT), f"{batch_id}-terminate", codec.encode(message))
