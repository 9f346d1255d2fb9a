"""Looks after commands that nothing was heard of, and after those whose agent came back.

Ends what is past its deadline, tries again what waits for a link, hands over again what was sent without an
acknowledgement, repeats stops. Any dispatcher may sweep any shard: a look is leased.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import structlog

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.limits import SETTLE_MS
from quarterdeck.contracts.orders import TerminateItem
from quarterdeck.contracts.sessions import ANY_AGENT
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.accounting import count_ends, count_stopped
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import Clock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import Found, Gone, Recently
from quarterdeck.core.store import Due, HandOver, Move, Store, Verdict, Written
from quarterdeck.core.store.keys import all_shards
from quarterdeck.dispatcher.delivery import Delivery
from quarterdeck.dispatcher.dependencies import MET, Dependencies, hold
from quarterdeck.dispatcher.handlers import (
    Envelope,
    Find,
    Handover,
    decide_again,
    envelope_of_due,
    link_fields,
    may_queue,
    move_of,
    new_handover,
    sought,
    unreachable_fields,
)
from quarterdeck.dispatcher.reading import Reading
from quarterdeck.dispatcher.stopping import Stopping

log = structlog.get_logger()

_PAUSE_S: Final = 1.0
_REPORTS_PAUSE_MS: Final = 250
"""Between looks whether reports were read."""


class Attention:
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
        self._store = store
        self._relay = relay
        self._clock = clock
        self._find = find
        self._delivery = Delivery(bus, store, clock)
        self._stopping = Stopping(bus, store, relay, clock, find)
        self._dependencies = dependencies
        self._reading = Reading(bus)
        self._back: set[tuple[str, str]] = set()
        self._somebody_back = asyncio.Event()

    async def sweep(self) -> int:
        """One look at all shards; answers how many commands wanted it. Raises Unavailable."""
        await self._dependencies.wake_approved()
        due, ended = await self._store.take_due(all_shards(), hold=True)
        await self._told(ended)
        await self._give_up([one.command_id for one in due if one.overdue])
        await self._attend([one for one in due if not one.overdue])
        return len(due) + len(ended.outcomes)

    def agent_connected(self, tenant: str, name: str) -> None:
        """To be called for every new link, by agent and by all that it can do; `follow_links` does the work."""
        self._back.add((tenant, name))
        self._somebody_back.set()

    async def follow_links(self) -> None:
        """Sends what waited for agents that came back, as many agents at a time as came. Runs until cancelled."""
        while True:
            await self._somebody_back.wait()
            self._somebody_back.clear()
            agents, self._back = self._back, set()
            try:
                await self._attend(await self._store.take_waiting(sorted(agents)))
            except Unavailable as error:
                log.warning("dispatcher.waiting_not_read", reason=error.message)
                self._back |= agents
                self._somebody_back.set()
                await asyncio.sleep(_PAUSE_S)

    async def _give_up(self, overdue: list[str]) -> None:
        """Ends what may have run and is past its deadline, unless its result may be on the bus already."""
        if not overdue:
            return
        if await self._reading.caught_up():
            await self._told(await self._store.give_up(overdue))
        else:
            await self._look_again(overdue, _REPORTS_PAUSE_MS)

    async def _told(self, ended: Written) -> None:
        await self._relay.publish(ended.entries, subject_id="deadlines")
        count_ends(ended.outcomes, self._clock.now_ms())

    async def _attend(self, due: Sequence[Due]) -> None:
        by_tenant: dict[str, list[Due]] = defaultdict(list)
        for one in due:
            by_tenant[one.tenant].append(one)
        for tenant, commands in by_tenant.items():
            specs = {
                view.command_id: view.spec
                for view in await self._store.commands(tenant, [one.command_id for one in commands])
            }
            known = [one for one in commands if one.command_id in specs]
            await asyncio.gather(
                self._send([one for one in known if one.state in _TO_SEND], specs),
                self._send_again([one for one in known if one.state is CommandState.SENT], specs),
                self._stop_again([one for one in known if one.state is CommandState.TERMINATING], specs),
            )

    async def _send(self, due: list[Due], specs: dict[str, CommandSpec]) -> None:
        """Pending and waiting: as at intake, with the links of now."""
        standings = await self._dependencies.of_due(due, specs)
        now_ms, name = self._clock.now_ms(), new_handover()
        moves: list[Move] = []
        handovers: dict[str, tuple[Envelope, Handover]] = {}
        resting: list[str] = []
        for one in due:
            spec = specs[one.command_id]
            link = self._find(one.tenant, sought(ANY_AGENT if one.session_id else one.agent_id, spec))
            standing = standings.get(one.command_id, MET)
            held = hold(standing, spec, created_at_ms=one.created_at_ms, now_ms=now_ms)
            decision = decide_again(one, spec, link, held, now_ms=now_ms, handover=name)
            if decision is None:
                if one.state is CommandState.PENDING or isinstance(link, Recently):
                    resting.append(one.command_id)
                continue
            moves.append(move_of(one.command_id, one.attempt, decision, now_ms))
            if isinstance(link, Found):
                deliver_by_ms = decision.fields.get("deliver_by_ms", one.deliver_by_ms)
                handover = Handover(one.command_id, link.record.agent_id, one.guest, one.attempt, link)
                handovers[one.command_id] = (envelope_of_due(one, spec, deliver_by_ms), handover)
        await self._look_again(resting, 1_000)
        if not moves:
            return
        written = await self._store.apply(moves)
        count_ends(written.outcomes, now_ms)
        sent = {
            outcome.command_id
            for outcome in written.outcomes
            if outcome.verdict is Verdict.APPLIED and outcome.state is CommandState.SENT
        }
        await asyncio.gather(
            self._relay.publish(written.entries, subject_id=moves[0].command_id),
            self._hand_over([pair for command_id, pair in handovers.items() if command_id in sent], name),
        )

    async def _send_again(self, due: list[Due], specs: dict[str, CommandSpec]) -> None:
        """Sent, but not acknowledged: the same attempt goes to the agent's link of now.

        Without a link, only a command that a gateway proved not to have delivered is unreachable, when it may not queue
        for its agent; for any other the agent may know more, and only its deadline ends the wait.
        """
        now_ms, name = self._clock.now_ms(), new_handover()
        steps: list[HandOver] = []
        handovers: dict[str, tuple[Envelope, Handover]] = {}
        lost: list[Move] = []
        queued: list[str] = []
        resting: list[str] = []
        for one in due:
            link = self._find(one.tenant, one.agent_id)
            if isinstance(link, Found):
                steps.append(
                    HandOver(
                        one.command_id,
                        one.attempt,
                        returned=False,
                        handover=name,
                        fields=link_fields(link),
                    )
                )
                handover = Handover(one.command_id, one.agent_id, one.guest, one.attempt, link)
                envelope = envelope_of_due(one, specs[one.command_id], one.deliver_by_ms)
                handovers[one.command_id] = (envelope, handover)
            elif isinstance(link, Gone) and one.returned and may_queue(one, specs[one.command_id], now_ms):
                queued.append(one.command_id)
            elif isinstance(link, Gone) and one.returned:
                fields = unreachable_fields(one.agent_id, now_ms)
                lost.append(Move(one.command_id, one.attempt, CommandState.UNREACHABLE, now_ms, fields))
            else:
                resting.append(one.command_id)
        await self._look_again(resting, 1_000)
        await self._look_again(queued, SETTLE_MS)
        if lost:
            written = await self._store.apply(lost)
            count_ends(written.outcomes, now_ms)
            await self._relay.publish(written.entries, subject_id=lost[0].command_id)
        if steps:
            outcomes = await self._store.hand_over(steps)
            still = {outcome.command_id for outcome in outcomes if outcome.verdict is Verdict.APPLIED}
            await self._hand_over(
                [pair for command_id, pair in handovers.items() if command_id in still], name
            )

    async def _stop_again(self, due: list[Due], specs: dict[str, CommandSpec]) -> None:
        """Terminating without an acknowledgement; what was provably never delivered is terminated."""
        now_ms = self._clock.now_ms()
        never_ran = [one for one in due if one.returned]
        if never_ran:
            fields = {"completed_at_ms": now_ms, "reason": "cancelled_before_start"}
            written = await self._store.apply(
                [
                    Move(one.command_id, one.attempt, CommandState.TERMINATED, now_ms, dict(fields))
                    for one in never_ran
                ]
            )
            count_stopped(written.outcomes, now_ms)
            await self._relay.publish(written.entries, subject_id=never_ran[0].command_id)
        stops = [
            TerminateItem(one.command_id, one.agent_id, one.attempt, specs[one.command_id].grace_ms)
            for one in due
            if not one.returned
        ]
        if stops:
            await self._stopping.pass_on(due[0].tenant, stops)

    async def _hand_over(self, pairs: Sequence[tuple[Envelope, Handover]], name: str) -> None:
        """Commands of one batch and attempt share an envelope; each single command has its own."""
        groups: dict[tuple[str, int], tuple[Envelope, list[Handover]]] = {}
        for envelope, handover in pairs:
            key = envelope.batch_id or handover.command_id, envelope.deliver_by_ms
            groups.setdefault(key, (envelope, []))[1].append(handover)
        await asyncio.gather(
            *(self._delivery.hand_over(envelope, handovers, name) for envelope, handovers in groups.values())
        )

    async def _look_again(self, command_ids: Sequence[str], in_ms: int) -> None:
        if command_ids:
            await self._store.look_again(command_ids, min(in_ms, SETTLE_MS), now_ms=self._clock.now_ms())


_TO_SEND = frozenset({CommandState.PENDING, CommandState.WAITING})
