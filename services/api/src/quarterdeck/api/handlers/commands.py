"""A single command as it is taken in: request → NewCommand, with its dispatch message and its first event."""

from typing import Final

import msgspec

from quarterdeck.api.handlers.origin import Origin
from quarterdeck.api.handlers.requests import SubmitCommand
from quarterdeck.api.handlers.specs import build_spec, payload_bytes
from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import TimeoutClock
from quarterdeck.contracts.event_payloads import spec_document
from quarterdeck.contracts.ids import Target
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import Move, NewCommand, RawEntry

NO_LINK_AT_INTAKE: Final = "no_link_at_intake"
"""Reason of a command that was unreachable when it came in, and was answered so."""


def new_command(
    request: SubmitCommand,
    target: Target,
    origin: Origin,
    *,
    connected: bool,
    needs_approval: bool = False,
) -> NewCommand:
    """`connected`: the agent has a link, or lost it a moment ago. Raises InvalidInput and its kin."""
    spec = build_spec(
        request,
        command_type=request.command_type,
        payload=payload_bytes(request.payload),
        timeout_from=TimeoutClock.CREATION,
    )
    if needs_approval:
        spec = msgspec.structs.replace(spec, needs_approval=True)
    tenant, user_id = origin.principal.tenant, origin.principal.name
    command_id = origin.fresh_id()
    chunk = DispatchChunk(
        tenant=tenant,
        user_id=user_id,
        spec=spec,
        items=(DispatchItem(command_id, target.agent_id, target.guest),),
        created_at_ms=origin.now_ms,
    )
    dispatch = RawEntry(subjects.command(tenant, spec.lane), f"{command_id}-dispatch", codec.encode(chunk))
    # What may wait or be tried again is the dispatcher's to decide; of anything else the answer is known now.
    patient = spec.queue_for_ms is not None or spec.retry.max_attempts > 1 or spec.held
    hopeless = not connected and not patient
    return NewCommand(
        command_id=command_id,
        tenant=tenant,
        user_id=user_id,
        agent_id=target.agent_id,
        guest=target.guest,
        spec=spec,
        created_at_ms=origin.now_ms,
        messages=() if hopeless else (dispatch,),
        event_payload={
            **origin.event_members,
            "agent_id": target.agent_id,
            **({"guest": target.guest} if target.guest else {}),
            "spec": spec_document(spec),
        },
        idempotency=origin.idempotency,
        end=_unreachable(command_id, target, origin.now_ms) if hopeless else None,
    )


def _unreachable(command_id: str, target: Target, now_ms: int) -> Move:
    fields = {
        "error": f"client not connected: {target}",
        "reason": NO_LINK_AT_INTAKE,
        "completed_at_ms": now_ms,
    }
    return Move(command_id, 1, CommandState.UNREACHABLE, now_ms, fields)
