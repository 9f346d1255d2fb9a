"""Takes reports from QD_REPORTS: a pull of many messages is one Redis pipeline, one publish burst, one ack burst."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from quarterdeck.aggregator.digests import ALL_WELL, Digests
from quarterdeck.aggregator.handlers import Story, Verified, by, move_of, read
from quarterdeck.contracts import codec, streams, subjects
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.reports import Report, ReportBatch
from quarterdeck.contracts.states import TERMINAL
from quarterdeck.core import failpoints, telemetry
from quarterdeck.core.accounting import count_ends
from quarterdeck.core.bus import Bus, ConsumerShape, Incoming
from quarterdeck.core.clock import Clock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import Amendment, HandOver, Store

REPORTS = ConsumerShape(
    stream=streams.REPORTS, durable="aggregator", filter=subjects.ALL_REPORTS, max_batch=300
)
"""Done: every report's transition is stored and its events are confirmed. Acked after that."""

_STOP_REST_MS = 15_000
"""After the agent acknowledged a stop there is nothing to repeat; the end comes as a result, or at the deadline, which
is noticed at the next look."""

_batches = codec.Decoder[ReportBatch](ReportBatch)


class Intake:
    def __init__(self, bus: Bus, store: Store, relay: Relay, clock: Clock) -> None:
        self._bus = bus
        self._store = store
        self._relay = relay
        self._clock = clock
        self._digests = Digests(bus, store)

    async def take(self, messages: list[Incoming]) -> None:
        """One pull. Raises Unavailable; everything in it may be delivered again and then changes nothing."""
        by_tenant: dict[str, list[Report]] = defaultdict(list)
        for incoming in messages:
            try:
                batch = _batches.decode(incoming.body)
            except DecodeError as error:
                await self._bus.dead_letter(incoming, error.code)
                continue
            by_tenant[batch.tenant].extend(batch.reports)
        failpoints.reach("aggregator.after_take")
        with telemetry.span(telemetry.REPORTS_APPLY, messages[0].headers, messages=len(messages)):
            for tenant, reports in by_tenant.items():
                await self._apply(tenant, read(reports))

    async def _apply(self, tenant: str, stories: Sequence[Story]) -> None:
        verified = await self._verify(tenant, stories)
        moves = [
            move
            for story, digests in zip(stories, verified, strict=True)
            if (move := move_of(tenant, story, digests))
        ]
        amended = [
            Amendment(story.command_id, story.attempt, story.fields, by(tenant, story))
            for story in stories
            if story.to is None and story.fields
        ]
        returned = [
            HandOver(
                story.command_id,
                story.attempt,
                returned=True,
                handover=handover,
                look_in_ms=0,
                by=by(tenant, story),
            )
            for story in stories
            for handover in story.returned
        ]
        acked = [story.command_id for story in stories if story.stop_acked and story.to not in TERMINAL]
        written, *_ = await asyncio.gather(
            self._store.apply(moves),
            self._store.amend(amended),
            self._store.hand_over(returned),
        )
        failpoints.reach("aggregator.after_apply")
        lost = [loss for digests in verified for loss in digests.lost]
        told = (await self._store.lose_output(lost)).entries if lost else []
        if acked:
            await self._store.look_again(acked, _STOP_REST_MS, now_ms=self._clock.now_ms())
        await self._relay.publish([*written.entries, *told], subject_id="reports")
        failpoints.reach("aggregator.after_publish")
        errors = {move.command_id: str(move.fields.get("error", "")) for move in moves}
        count_ends(written.outcomes, self._clock.now_ms(), errors)

    async def _verify(self, tenant: str, stories: Sequence[Story]) -> list[Verified]:
        """Nearly always known from the gateway's own digest; only a taken-over stream is read again."""
        return [
            await self._digests.verify(tenant, story) if story.result is not None else ALL_WELL
            for story in stories
        ]
