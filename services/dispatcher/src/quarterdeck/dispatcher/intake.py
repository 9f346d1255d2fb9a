"""Takes messages from QD_COMMANDS, one lane at a time, and turns each pull into few round trips.

A pull's chunks go through Redis together and to the gateways together; the messages are acked when the events of all
of them are confirmed.
"""

import asyncio
from collections.abc import Sequence

from quarterdeck.contracts import codec, streams, subjects
from quarterdeck.contracts.commands import Lane
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.orders import (
    DispatchChunk,
    DispatchItem,
    QueuedMessage,
    TerminateRequest,
    WakeRequest,
)
from quarterdeck.contracts.sessions import ANY_AGENT
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import failpoints
from quarterdeck.core.accounting import count_ends
from quarterdeck.core.bus import Bus, ConsumerShape, Incoming
from quarterdeck.core.clock import Clock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import Found
from quarterdeck.core.store import OutboxEntry, Outcome, Store, Verdict
from quarterdeck.dispatcher.delivery import Delivery
from quarterdeck.dispatcher.dependencies import Dependencies, dependant, hold
from quarterdeck.dispatcher.handlers import (
    Decision,
    Envelope,
    Find,
    Handover,
    Link,
    child_of,
    decide,
    group_chunks,
    move_of,
    new_handover,
    sought,
)
from quarterdeck.dispatcher.stopping import Stopping

_messages = codec.Decoder[QueuedMessage](QueuedMessage)


def lane_consumer(lane: Lane) -> ConsumerShape:
    """Done: the state and its events are stored and the order was offered to its gateway. Acked after that."""
    return ConsumerShape(
        stream=streams.COMMANDS,
        durable=f"dispatcher-{lane}",
        filter=subjects.lane_filter(lane),
        max_batch=200,
    )


class Intake:
    def __init__(
        self,
        bus: Bus,
        store: Store,
        relay: Relay,
        clock: Clock,
        find: Find,
        *,
        dependencies: Dependencies,
    ) -> None:
        self._bus = bus
        self._store = store
        self._relay = relay
        self._clock = clock
        self._find = find
        self._delivery = Delivery(bus, store, clock)
        self._stopping = Stopping(bus, store, relay, clock, find)
        self._dependencies = dependencies

    async def take(self, messages: list[Incoming]) -> None:
        """One pull. Raises Unavailable; everything in it may be delivered again."""
        chunks: list[tuple[DispatchChunk, dict[str, str]]] = []
        stops: list[TerminateRequest] = []
        wakes: list[WakeRequest] = []
        for incoming in messages:
            try:
                message = _messages.decode(incoming.body)
            except DecodeError as error:
                await self._bus.dead_letter(incoming, error.code)
                continue
            if isinstance(message, TerminateRequest):
                stops.append(message)
            elif isinstance(message, WakeRequest):
                wakes.append(message)
            else:
                chunks.append((message, incoming.headers))
        failpoints.reach("dispatcher.after_take")
        await asyncio.gather(*(self._dispatch(envelope, items) for envelope, items in group_chunks(chunks)))
        await self._stopping.stop(stops)
        await self._dependencies.wake(wakes)

    async def _dispatch(self, envelope: Envelope, items: Sequence[DispatchItem]) -> None:
        """Writes where each command goes, then hands over those that became `sent`."""
        now_ms = self._clock.now_ms()
        handover = new_handover()
        links = [self._find(envelope.tenant, sought(item.agent_id, envelope.spec)) for item in items]
        held = await self._held(envelope, items, now_ms)
        decisions = [
            held
            or decide(
                envelope.spec,
                link,
                item.agent_id,
                created_at_ms=envelope.created_at_ms,
                now_ms=now_ms,
                handover=handover,
            )
            for item, link in zip(items, links, strict=True)
        ]
        outcomes, entries = await self._write(envelope, items, decisions, now_ms)
        failpoints.reach("dispatcher.after_sent")
        count_ends(outcomes, now_ms)
        handovers, again = self._sort(items, links, outcomes)
        again += self._found_meanwhile(envelope, items, outcomes)
        await asyncio.gather(
            self._relay.publish(entries, subject_id=envelope.batch_id or items[0].command_id),
            self._delivery.hand_over(envelope, handovers, handover),
        )
        if again:
            await self._store.look_again(again, 0, now_ms=now_ms)

    async def _held(self, envelope: Envelope, items: Sequence[DispatchItem], now_ms: int) -> Decision | None:
        """What holds all of them back; None: nothing does."""
        spec = envelope.spec
        if not spec.held:
            return None
        dependants = {dependant(envelope, item.command_id) for item in items}
        standing = await self._dependencies.standing(spec, list(dependants))
        return hold(standing, spec, created_at_ms=envelope.created_at_ms, now_ms=now_ms)

    async def _write(
        self,
        envelope: Envelope,
        items: Sequence[DispatchItem],
        decisions: Sequence[Decision],
        now_ms: int,
    ) -> tuple[list[Outcome], list[OutboxEntry]]:
        if envelope.batch_id is not None:
            written = await self._store.expand(
                tenant=envelope.tenant,
                user_id=envelope.user_id,
                batch_id=envelope.batch_id,
                spec=envelope.spec,
                created_at_ms=envelope.created_at_ms,
                at_ms=now_ms,
                children=[child_of(item, decision) for item, decision in zip(items, decisions, strict=True)],
            )
        else:
            written = await self._store.apply(
                [
                    move_of(item.command_id, 1, decision, now_ms)
                    for item, decision in zip(items, decisions, strict=True)
                ]
            )
        return written.outcomes, written.entries

    def _found_meanwhile(
        self, envelope: Envelope, items: Sequence[DispatchItem], outcomes: Sequence[Outcome]
    ) -> list[str]:
        """What began to wait for whoever can do it, when somebody came between the look and the write."""
        name = sought(ANY_AGENT, envelope.spec)
        return [
            item.command_id
            for item, outcome in zip(items, outcomes, strict=True)
            if item.agent_id == ANY_AGENT
            and outcome.state is CommandState.WAITING
            and isinstance(self._find(envelope.tenant, name), Found)
        ]

    @staticmethod
    def _sort(
        items: Sequence[DispatchItem], links: Sequence[Link], outcomes: Sequence[Outcome]
    ) -> tuple[list[Handover], list[str]]:
        """What to hand over now; and what an earlier delivery left in `sent`, to be looked at again at once."""
        handovers: list[Handover] = []
        again: list[str] = []
        for item, link, outcome in zip(items, links, outcomes, strict=True):
            if outcome.state is not CommandState.SENT:
                continue
            if outcome.verdict in {Verdict.APPLIED, Verdict.CREATED} and isinstance(link, Found):
                agent_id = link.record.agent_id
                handovers.append(Handover(item.command_id, agent_id, item.guest, outcome.attempt, link))
            else:
                again.append(item.command_id)
        return handovers, again
