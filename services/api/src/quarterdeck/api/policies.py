"""What each tenant's policy says: may this be ordered, and how long is its answer good for (S0-29, S0-33).

Follows the registry, so that every replica knows a change within moments; the one that made it knows it at once.
Called by intake.py for everything that is to be created, and by the routes that show and change policies.
"""

from fnmatch import fnmatchcase

import structlog

from quarterdeck.api.errors import CommandNotAllowed
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.events import POLICY_REFUSED, EventRecord, encode_cloud_event
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.policies import CommandPolicy
from quarterdeck.core.bus import Bus, BusError, Outgoing
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import policy_key

log = structlog.get_logger()


class Policies:
    """The registry's policies must be watched."""

    def __init__(self, registry: Registry, bus: Bus, clock: Clock) -> None:
        self._table = registry.policies
        self._bus = bus
        self._clock = clock
        self._written: dict[str, tuple[int, CommandPolicy]] = {}
        """What this process wrote, with its revision, until the watch has caught up."""

    def of(self, tenant: str) -> CommandPolicy:
        entry = self._table.current.get(policy_key(tenant))
        revision, written = self._written.get(tenant, (0, None))
        if written is not None and (entry is None or entry.revision < revision):
            return written
        return CommandPolicy(tenant=tenant) if entry is None else entry.value

    async def replace(self, policy: CommandPolicy) -> None:
        """Raises Unavailable."""
        revision = await self._table.put(policy_key(policy.tenant), policy)
        self._written[policy.tenant] = revision, policy
        log.info("api.policy_replaced", tenant=policy.tenant, principal=policy.updated_by)

    async def check(self, tenant: str, user_id: str, command_type: str, *, targets: int) -> None:
        """Raises CommandNotAllowed, and tells the world of it."""
        allowed = self.of(tenant).allowed
        if allowed is None or any(fnmatchcase(command_type, pattern) for pattern in allowed):
            return
        log.warning("api.command_refused", command_type=command_type, principal=user_id, targets=targets)
        refusal = EventRecord(
            type=POLICY_REFUSED,
            tenant=tenant,
            aggregate_id=new_id(),
            version=1,
            at_ms=self._clock.now_ms(),
            payload={"user_id": user_id, "command_type": command_type, "targets": targets},
        )
        try:
            await self._bus.publish(
                Outgoing(refusal.subject, encode_cloud_event(refusal), msg_id=refusal.event_id)
            )
        except (BusError, Unavailable) as error:
            log.warning("api.refusal_not_told", error=error.message)
        raise CommandNotAllowed(command_type)
