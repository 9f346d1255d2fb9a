"""The order of a write: may it be, one script, then the bus has its messages, then the caller hears of it.

Owns that order, so that no way of creating forgets a limit; the limits are policies.py, in_flight.py, rate_limits.py
and recall.py, what is written comes from handlers/. Called by the routes that create.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from quarterdeck.api.errors import BatchNotConfirmed, UnknownDependencies
from quarterdeck.api.in_flight import InFlight
from quarterdeck.api.policies import Policies
from quarterdeck.api.recall import Recall
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import NotConfirmed, TooManyInFlight
from quarterdeck.contracts.ids import shard_of
from quarterdeck.core import failpoints
from quarterdeck.core.accounting import count_ends
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import NewBatch, NewCommand, Store

if TYPE_CHECKING:  # loaded only where a rate is set: see service.py
    from quarterdeck.api.rate_limits import RateLimits

_SWEEP_LIMIT: Final = 500
"""How many entries one sweep of a shard publishes; so many mean that there may be more."""


class Taken(NamedTuple):
    """`repeated`: an earlier request with the same idempotency key had created it."""

    subject_id: str
    repeated: bool


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What stands between a request and the store."""

    policies: Policies
    in_flight: InFlight
    recall: Recall
    rates: "RateLimits | None" = None


class Intake:
    def __init__(self, store: Store, relay: Relay, limits: Limits) -> None:
        self._store = store
        self._relay = relay
        self._limits = limits

    async def command(self, new: NewCommand) -> Taken:
        """Returns when it is stored and the bus has its messages.

        Raises IdempotencyConflict, NotConfirmed, Unavailable, and what `admit` raises.
        """
        if self._limits.rates is not None:
            await self._limits.rates.command(new.tenant, new.agent_id)
        await self._admit_once(new, new.command_id, commands=1)
        ttl_s = self._limits.policies.of(new.tenant).cached_s.get(new.spec.command_type)
        to_be_sent = new.end is None and not new.spec.held
        answered = await self._limits.recall.answered(new, ttl_s) if ttl_s and to_be_sent else None
        written = await self._store.create_command(answered or new)
        if written.existing_id is not None:
            return await self._again(written.existing_id)
        count_ends(written.outcomes, new.created_at_ms)
        if ttl_s and answered is None:
            await self._limits.recall.asked(new, ttl_s)
        await self._relay.publish(written.entries, subject_id=new.command_id)
        failpoints.reach("api.before_answer")
        return Taken(new.command_id, repeated=False)

    async def batch(self, new: NewBatch) -> Taken:
        """As `command`. Raises BatchNotConfirmed in place of NotConfirmed."""
        await self._admit_once(new, new.batch_id, commands=len(new.targets))
        written = await self._store.create_batch(new)
        try:
            if written.existing_id is not None:
                return await self._again(written.existing_id)
            await self._relay.publish(written.entries, subject_id=new.batch_id)
        except NotConfirmed as error:
            raise BatchNotConfirmed(error.subject_id) from error
        failpoints.reach("api.before_answer")
        return Taken(new.batch_id, repeated=False)

    async def admit(self, tenant: str, user_id: str, spec: CommandSpec, *, commands: int) -> None:
        """To be asked before `commands` of `spec` are created, by whatever way.

        Raises CommandNotAllowed, UnknownDependencies, TooManyInFlight, Unavailable.
        """
        await self._limits.policies.check(tenant, user_id, spec, targets=commands)
        if spec.depends_on:
            states = await self._store.await_ends(tenant, spec.depends_on, ())
            unknown = tuple(one for one, state in zip(spec.depends_on, states, strict=True) if state is None)
            if unknown:
                raise UnknownDependencies(unknown)
        await self._limits.in_flight.admit(commands)

    async def _admit_once(self, new: NewCommand | NewBatch, subject_id: str, *, commands: int) -> None:
        """As `admit`, but what was let in before is not refused for how things stand today: the script answers it."""
        try:
            await self.admit(new.tenant, new.user_id, new.spec, commands=commands)
        except (UnknownDependencies, TooManyInFlight):
            if new.idempotency is None or not await self._store.is_claimed(new.idempotency, subject_id):
                raise

    async def _again(self, subject_id: str) -> Taken:
        """The first request may have died between script and bus: nobody hears `taken` before the bus has it."""
        shard = shard_of(subject_id)
        try:
            while await self._relay.sweep(range(shard, shard + 1), older_than_ms=0) >= _SWEEP_LIMIT:
                pass
        except NotConfirmed as error:
            raise NotConfirmed(subject_id) from error
        return Taken(subject_id, repeated=True)
