"""agent.enrolled, .connected, .disconnected, .guests_changed, .refused: told to the world on QD_FEED, in bursts.

An agent's version is the revision of its link record, which grows with every connect and disconnect, whichever gateway
writes it. `agent.enrolled` is told with the first connect after the enrolment, so that it has a place in that order.
`agent.refused` has none: its aggregate is a name that somebody gave. Called by the gateway, and by admission.
"""

import asyncio
from typing import Final

import structlog

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.events import (
    AGENT,
    AGENT_GUESTS_CHANGED,
    AGENT_REFUSED,
    EventRecord,
    encode_cloud_event,
)
from quarterdeck.contracts.links import Epoch, LinkRecord
from quarterdeck.core.bus import Bus, BusError, Outgoing
from quarterdeck.core.runtime.tasks import TaskSet

log = structlog.get_logger()

ENROLLED: Final = f"{AGENT}.enrolled"
CONNECTED: Final = f"{AGENT}.connected"
DISCONNECTED: Final = f"{AGENT}.disconnected"

_RETRY_S: Final = 1.0
_LIMIT: Final = 20_000
"""Events that wait for the bus; a longer outage loses the oldest. The registry holds the truth."""
_BEHIND: Final = 2
"""The highest part that other events of one link have: `agent.revoked` is the last of them."""


class AgentEvents:
    def __init__(self, bus: Bus, tasks: TaskSet) -> None:
        self._bus = bus
        self._tasks = tasks
        self._waiting: list[EventRecord] = []
        self._running = False

    def connected(self, record: LinkRecord, revision: int, agent: AgentRecord, *, first: bool) -> None:
        """`first`: no link since the agent enrolled."""
        if first:
            who: dict[str, object] = {"name": agent.name, "labels": agent.labels}
            self._tell(_event(ENROLLED, record, revision, agent.enrolled_at_ms, who))
        link: dict[str, object] = {
            "gateway_id": record.gateway_id,
            "carrier": record.carrier,
            "dialect": record.dialect,
        }
        self._tell(_event(CONNECTED, record, revision, record.since_ms, link, part=int(first)))

    def disconnected(self, record: LinkRecord, revision: int) -> None:
        payload = {
            "gateway_id": record.gateway_id,
            "reason": str(record.end or ""),
            "since_ms": record.since_ms,
        }
        self._tell(_event(DISCONNECTED, record, revision, record.ended_at_ms or record.since_ms, payload))

    def guests_changed(
        self, agent: AgentRecord, guests: tuple[str, ...], epoch: Epoch, revision: int, at_ms: int
    ) -> None:
        """`epoch`: of the link that told it. `revision`: of the agent's record since then; orders lists of one link."""
        self._tell(
            EventRecord(
                type=AGENT_GUESTS_CHANGED,
                tenant=agent.tenant,
                aggregate_id=agent.agent_id,
                version=epoch.revision,
                at_ms=at_ms,
                part=_BEHIND + revision,
                payload={"agent_id": agent.agent_id, "guests": guests},
            )
        )

    def refused(self, tenant: str, name: str, at_ms: int, payload: dict[str, object]) -> None:
        """`name`: an id made of the name that was given. `payload`: members of event_payloads.AgentRefused."""
        self._tell(
            EventRecord(
                type=AGENT_REFUSED,
                tenant=tenant,
                aggregate_id=name,
                version=at_ms,
                at_ms=at_ms,
                payload=payload,
            )
        )

    def _tell(self, event: EventRecord) -> None:
        self._waiting.append(event)
        if not self._running:
            self._running = True
            self._tasks.spawn(self._publish(), "agent_events")

    async def _publish(self) -> None:
        while self._waiting:
            burst, self._waiting = self._waiting[-_LIMIT:], []
            try:
                await self._bus.publish_many([_outgoing(event) for event in burst])
            except (Unavailable, BusError) as error:
                log.warning("gateway.agent_events_delayed", events=len(burst), error=error.message)
                self._waiting[:0] = burst
                await asyncio.sleep(_RETRY_S)
        self._running = False


def _event(
    kind: str, record: LinkRecord, revision: int, at_ms: int, payload: dict[str, object], *, part: int = 0
) -> EventRecord:
    return EventRecord(
        type=kind,
        tenant=record.tenant,
        aggregate_id=record.agent_id,
        version=revision,
        at_ms=at_ms,
        part=part,
        payload=payload,
    )


def _outgoing(event: EventRecord) -> Outgoing:
    return Outgoing(subject=event.subject, body=encode_cloud_event(event), msg_id=event.event_id)
