"""`agent.revoked`, told to the world once the registry holds it. Called by routes/agents.py."""

from typing import Final

import structlog

from quarterdeck.api.parts import Parts
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.events import AGENT_REVOKED, EventRecord, encode_cloud_event
from quarterdeck.core.bus import BusError, Outgoing
from quarterdeck.core.registry.keys import link_key

log = structlog.get_logger()

_PART: Final = 2
"""Behind `agent.enrolled` and `agent.connected`, which may have the same version."""


async def tell_revoked(parts: Parts, tenant: str, agent_id: str, principal: str) -> None:
    """Its version is that of the link's record as we know it, which orders it among the agent's other events.

    Raises nothing: the agent is revoked, and the link's end will tell it too.
    """
    link = parts.registry.links.current.get(link_key(tenant, agent_id))
    event = EventRecord(
        type=AGENT_REVOKED,
        tenant=tenant,
        aggregate_id=agent_id,
        version=0 if link is None else link.revision,
        at_ms=parts.clock.now_ms(),
        part=_PART,
        payload={"agent_id": agent_id, "principal": principal},
    )
    message = Outgoing(subject=event.subject, body=encode_cloud_event(event), msg_id=event.event_id)
    try:
        await parts.bus.publish(message)
    except (Unavailable, BusError) as error:
        log.warning("api.revocation_untold", agent_id=agent_id, error=error.message)
