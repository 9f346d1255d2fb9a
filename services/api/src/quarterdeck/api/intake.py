"""The order of a write: one script, then the bus has its messages, then the caller hears of it.

Owns that order and nothing else; what is written comes from handlers/. Called by the routes that create.
"""

from typing import Final, NamedTuple

from quarterdeck.api.errors import BatchNotConfirmed
from quarterdeck.contracts.errors import NotConfirmed
from quarterdeck.contracts.ids import shard_of
from quarterdeck.core import failpoints
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import NewBatch, NewCommand, Store

_SWEEP_LIMIT: Final = 500
"""How many entries one sweep of a shard publishes; so many mean that there may be more."""


class Taken(NamedTuple):
    """`repeated`: an earlier request with the same idempotency key had created it."""

    subject_id: str
    repeated: bool


class Intake:
    def __init__(self, store: Store, relay: Relay) -> None:
        self._store = store
        self._relay = relay

    async def command(self, new: NewCommand) -> Taken:
        """Returns when it is stored and the bus has its messages.

        Raises IdempotencyConflict, NotConfirmed, Unavailable.
        """
        written = await self._store.create_command(new)
        if written.existing_id is not None:
            return await self._again(written.existing_id)
        await self._relay.publish(written.entries, subject_id=new.command_id)
        failpoints.reach("api.before_answer")
        return Taken(new.command_id, repeated=False)

    async def batch(self, new: NewBatch) -> Taken:
        """As `command`. Raises BatchNotConfirmed in place of NotConfirmed."""
        written = await self._store.create_batch(new)
        try:
            if written.existing_id is not None:
                return await self._again(written.existing_id)
            await self._relay.publish(written.entries, subject_id=new.batch_id)
        except NotConfirmed as error:
            raise BatchNotConfirmed(error.subject_id) from error
        failpoints.reach("api.before_answer")
        return Taken(new.batch_id, repeated=False)

    async def _again(self, subject_id: str) -> Taken:
        """The first request may have died between script and bus: nobody hears `taken` before the bus has it."""
        shard = shard_of(subject_id)
        try:
            while await self._relay.sweep(range(shard, shard + 1), older_than_ms=0) >= _SWEEP_LIMIT:
                pass
        except NotConfirmed as error:
            raise NotConfirmed(subject_id) from error
        return Taken(subject_id, repeated=True)
