"""Short ways to make what the store's tests are about."""

from typing import Any

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.core.store import NewBatch, NewCommand

AT_MS = 1_763_700_000_000
SPEC = CommandSpec(command_type="shell", payload=b'{"command":"true"}')


def a_command(
    command_id: str,
    *,
    agent_id: str = "a1",
    spec: CommandSpec = SPEC,
    created_at_ms: int = AT_MS,
    **more: Any,
) -> NewCommand:
    return NewCommand(
        command_id=command_id,
        tenant="t",
        user_id="u",
        agent_id=agent_id,
        spec=spec,
        created_at_ms=created_at_ms,
        event_payload={"agent_id": agent_id},
        **more,
    )


def a_batch(
    batch_id: str, targets: tuple[str, ...], *, created_at_ms: int = AT_MS, spec: CommandSpec = SPEC
) -> NewBatch:
    return NewBatch(
        batch_id=batch_id,
        tenant="t",
        user_id="u",
        spec=spec,
        targets=targets,
        created_at_ms=created_at_ms,
        original_request=b"{}",
        event_payloads=({"targets": list(targets)},),
    )
