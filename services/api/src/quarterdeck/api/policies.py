"""What each tenant's policy says: may it be ordered, must it be approved, how long its answer is good (S0-29, S0-33).

Follows the registry, so that every replica knows a change within moments; the one that made it knows it at once.
Called by intake.py for everything that is to be created, and by the routes that show and change policies.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import structlog

from quarterdeck.api.errors import CommandNotAllowed
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.events import POLICY_APPROVED, POLICY_REFUSED, EventRecord, encode_cloud_event
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.policies import Approval, CommandPolicy
from quarterdeck.core.bus import Bus, BusError, Outgoing
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import AlreadyExists, Registry
from quarterdeck.core.registry.keys import approval_key, policy_key

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
        known = None if entry is None else entry.value
        return known if isinstance(known, CommandPolicy) else CommandPolicy(tenant=tenant)

    def needs_approval(self, tenant: str, command_type: str) -> bool:
        return _fits(command_type, self.of(tenant).needs_approval)

    async def replace(self, policy: CommandPolicy) -> None:
        """Raises Unavailable."""
        revision = await self._table.put(policy_key(policy.tenant), policy)
        self._written[policy.tenant] = revision, policy
        log.info("api.policy_replaced", tenant=policy.tenant, principal=policy.updated_by)

    async def check(self, tenant: str, user_id: str, spec: CommandSpec, *, targets: int) -> None:
        """Raises CommandNotAllowed, and tells the world of it.

        Also for what needs an approval and came a way that knows of none: nothing gets by unapproved.
        """
        allowed, command_type = self.of(tenant).allowed, spec.command_type
        unheld = self.needs_approval(tenant, command_type) and not spec.needs_approval
        if (allowed is None or _fits(command_type, allowed)) and not unheld:
            return
        log.warning("api.command_refused", command_type=command_type, principal=user_id, targets=targets)
        told = {"user_id": user_id, "command_type": command_type, "targets": targets}
        await self._tell(POLICY_REFUSED, tenant, told)
        raise CommandNotAllowed(command_type)

    async def approve(self, tenant: str, subject_id: str, user_id: str) -> str:
        """Who approved it: `user_id`, or whoever did before. Raises Unavailable."""
        key, now_ms = approval_key(tenant, subject_id), self._clock.now_ms()
        approval = Approval(tenant=tenant, subject_id=subject_id, approved_by=user_id, at_ms=now_ms)
        try:
            await self._table.create(key, approval)
        except AlreadyExists:
            entry = await self._table.get(key)
            before = None if entry is None else entry.value
            return before.approved_by if isinstance(before, Approval) else user_id
        log.info("api.command_approved", command_id=subject_id, principal=user_id)
        await self._tell(POLICY_APPROVED, tenant, {"subject_id": subject_id, "approved_by": user_id})
        return user_id

    async def _tell(self, kind: str, tenant: str, payload: dict[str, object]) -> None:
        event = EventRecord(
            type=kind,
            tenant=tenant,
            aggregate_id=new_id(),
            version=1,
            at_ms=self._clock.now_ms(),
            payload=payload,
        )
        outgoing = Outgoing(event.subject, encode_cloud_event(event), msg_id=event.event_id)
        try:
            await self._bus.publish(outgoing)
        except (BusError, Unavailable) as error:
            log.warning("api.policy_event_not_told", type=kind, error=error.message)


def _fits(command_type: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(command_type, pattern) for pattern in patterns)
