"""The outbox relay: what a script stored beside a transition goes to the bus, and then leaves the outbox.

The writer relays its own entries at once, in one burst; a sweep finishes only for writers that died. Event ids are
Nats-Msg-Ids, so publishing twice is publishing once.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from quarterdeck.contracts.errors import NotConfirmed, Unavailable
from quarterdeck.contracts.events import EventRecord, encode_cloud_event
from quarterdeck.core import failpoints
from quarterdeck.core.bus import Bus, Outgoing
from quarterdeck.core.store import OutboxEntry, Store

_SWEEP_AFTER_MS: Final = 5_000
_records: msgspec.msgpack.Decoder[EventRecord] = msgspec.msgpack.Decoder(EventRecord)


def outgoing(entry: OutboxEntry) -> Outgoing:
    """The message that an outbox entry stands for."""
    if entry.kind == "r":
        return Outgoing(subject=entry.subject, body=entry.body, msg_id=entry.msg_id)
    record = _records.decode(entry.body)
    return Outgoing(subject=record.subject, body=encode_cloud_event(record), msg_id=record.event_id)


class Relay:
    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store

    async def publish(self, entries: Sequence[OutboxEntry], *, subject_id: str = "") -> None:
        """Publishes in one burst and returns when the bus has stored all of it; the entries leave the outbox soon.

        Raises NotConfirmed, naming `subject_id`, when it has not within the bus's time: the entries stay for the sweep.
        """
        if entries:
            failpoints.reach("outbox.after_commit")
            await self._confirm(entries, subject_id)
            failpoints.reach("outbox.after_publish")
            self._store.forget_soon(list(entries))

    async def sweep(self, shards: range, *, older_than_ms: int = _SWEEP_AFTER_MS) -> int:
        """Publishes what writers left behind; answers how many entries. Raises Unavailable."""
        entries = await self._store.left_over(shards, older_than_ms=older_than_ms)
        if entries:
            await self._confirm(entries, "outbox")
            await self._store.forget(entries)  # or the next sweep would find them again
        return len(entries)

    async def _confirm(self, entries: Sequence[OutboxEntry], subject_id: str) -> None:
        try:
            await self._bus.publish_many([outgoing(entry) for entry in entries])
        except Unavailable as error:
            raise NotConfirmed(subject_id) from error
