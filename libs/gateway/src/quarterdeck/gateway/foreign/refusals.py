"""Refused agents, told so that nobody can flood the feed: one log line and one event per name and minute.

Every refusal is counted in a metric; what had no event of its own is counted in the next one of the same name. Called
by admission. Never told: the secret that was given.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from quarterdeck.contracts.agents import Dialect
from quarterdeck.contracts.identities import MAX_CLIENT_ID_CHARS
from quarterdeck.core import metrics
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry.keys import identity_digest
from quarterdeck.gateway.agent_events import AgentEvents

log = structlog.get_logger()

_QUIET_MS: Final = 60_000
"""After an event the same name has no other for this long."""
_NAMES: Final = 1024
"""Names with an event in that time; a flood of ever new names beyond it is only counted."""


class RefusalReason(StrEnum):
    UNKNOWN_IDENTITY = "unknown_identity"
    WRONG_SECRET = "wrong_secret"
    REVOKED = "revoked"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """As event_payloads.AgentRefused. `tenant`: who hears of it."""

    tenant: str
    dialect: Dialect
    identity: str
    peer: str
    reason: RefusalReason
    agent_id: str | None = None


class _Told(msgspec.Struct):
    at_ms: int
    unreported: int = 0


class Refusals:
    def __init__(self, events: AgentEvents, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._told: OrderedDict[str, _Told] = OrderedDict()
        """By name, those told longest ago first."""

    def tell(self, refusal: Refusal) -> None:
        """Counts it, and tells it unless the same name was told a moment ago."""
        metrics.AGENTS_REFUSED.labels(refusal.dialect, refusal.reason).inc()
        now_ms = self._clock.now_ms()
        name = identity_digest(refusal.dialect, refusal.identity)
        before = self._told.get(name)
        if before is not None and now_ms - before.at_ms < _QUIET_MS:
            before.unreported += 1
            return
        if before is None and not self._room(now_ms):
            return
        self._told[name] = _Told(now_ms)
        self._told.move_to_end(name)
        unreported = 0 if before is None else before.unreported
        log.warning(
            "gateway.agent_refused",
            dialect=str(refusal.dialect),
            identity=refusal.identity[:MAX_CLIENT_ID_CHARS],
            peer=refusal.peer,
            reason=str(refusal.reason),
            unreported=unreported,
        )
        self._events.refused(refusal.tenant, name, now_ms, _payload(refusal, unreported))

    def _room(self, now_ms: int) -> bool:
        while self._told:
            oldest = next(iter(self._told))
            if now_ms - self._told[oldest].at_ms < _QUIET_MS:
                break
            del self._told[oldest]
        return len(self._told) < _NAMES


def _payload(refusal: Refusal, unreported: int) -> dict[str, object]:
    payload: dict[str, object] = {
        "dialect": str(refusal.dialect),
        "identity": refusal.identity[:MAX_CLIENT_ID_CHARS],
        "peer": refusal.peer,
        "reason": str(refusal.reason),
    }
    if refusal.agent_id is not None:
        payload["agent_id"] = refusal.agent_id
    if unreported:
        payload["unreported"] = unreported
    return payload
