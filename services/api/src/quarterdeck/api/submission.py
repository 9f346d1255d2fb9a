"""One command on its way in: is the agent known, has it a link, then intake. For every route that makes one command.

Owns that order and the log of it. What is written comes from handlers/commands.py, how it is written is intake.py's.
"""

import structlog

from quarterdeck.api.handlers.commands import NO_LINK_AT_INTAKE, new_command
from quarterdeck.api.handlers.origin import Origin
from quarterdeck.api.handlers.requests import SubmitCommand
from quarterdeck.api.parts import Parts
from quarterdeck.contracts.errors import AgentUnreachable, UnknownAgent
from quarterdeck.contracts.ids import parse_target
from quarterdeck.core.store import NewCommand

log = structlog.get_logger()


async def submit(parts: Parts, asked: SubmitCommand, origin: Origin) -> str:
    """The id of the command, which is stored and confirmed by the bus.

    Raises UnknownAgent, AgentUnreachable (then it is stored as unreachable), IdempotencyConflict, InvalidInput and its
    kin, NotConfirmed, Unavailable.
    """
    tenant = origin.principal.tenant
    target = parse_target(asked.client_id, "client_id")
    if parts.fleet.record(tenant, target.agent_id) is None and not await parts.fleet.known(
        tenant, [target.agent_id]
    ):
        raise UnknownAgent((asked.client_id,), field="client_id")
    connected = not await parts.fleet.surely_gone(tenant, target.agent_id)
    needs_approval = parts.limits.policies.needs_approval(tenant, asked.command_type)
    new = new_command(asked, target, origin, connected=connected, needs_approval=needs_approval)
    taken = await parts.intake.command(new)
    if not taken.repeated:
        _log_taken(new)
    unreachable = new.end is not None
    if taken.repeated:
        before = await parts.store.command(tenant, taken.subject_id)
        unreachable = before is not None and before.reason == NO_LINK_AT_INTAKE
    if unreachable:
        raise AgentUnreachable(str(target), taken.subject_id)
    return taken.subject_id


def _log_taken(new: NewCommand) -> None:
    """S0-23."""
    fields = {
        "command_id": new.command_id,
        "client_id": new.agent_id,
        "command_type": new.spec.command_type,
        "timeout_ms": new.spec.timeout_ms,
    }
    if new.end is None:
        log.info("api.command_sent", **fields)
    else:
        log.info("api.command_unreachable", **fields)
