"""Stops commands: writes `terminating` (or `terminated`, for what was never sent) and asks the gateways to pass it on.

A stop that is not acknowledged is repeated by attention.py until the agent acknowledges it or reports an end.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.limits import CHUNK_TARGETS
from quarterdeck.contracts.orders import GatewayTerminate, TerminateItem, TerminateRequest
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.accounting import count_stopped
from quarterdeck.core.bus import Bus, BusError
from quarterdeck.core.clock import Clock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import Found
from quarterdeck.core.store import Move, Store
from quarterdeck.dispatcher.handlers import Find

log = structlog.get_logger()


class Stopping:
    def __init__(self, bus: Bus, store: Store, relay: Relay, clock: Clock, find: Find) -> None:
        self._bus = bus
        self._store = store
        self._relay = relay
        self._clock = clock
        self._find = find

    async def stop(self, requests: Sequence[TerminateRequest]) -> None:
        """Raises Unavailable; may be repeated."""
        for request in requests:
            if request.batch_id is not None:
                await self._stop_batch(request.tenant, request.batch_id)
            elif request.command_id is not None:
                await self._stop_commands(request.tenant, [request.command_id])

    async def _stop_batch(self, tenant: str, batch_id: str) -> None:
        batch = await self._store.batch(tenant, batch_id)
        if batch is None:
            return
        log.info("dispatcher.batch_terminating", batch_id=batch_id, targets=len(batch.targets))
        for start in range(0, len(batch.targets), CHUNK_TARGETS):
            indexes = range(start, min(start + CHUNK_TARGETS, len(batch.targets)))
            await self._stop_commands(tenant, [child_id(batch_id, index) for index in indexes])

    async def _stop_commands(self, tenant: str, command_ids: Sequence[str]) -> None:
        """Children that no chunk has created yet are unknown here; they are born terminated."""
        views = await self._store.commands(tenant, command_ids)
        now_ms = self._clock.now_ms()
        written = await self._store.apply(
            [Move(view.command_id, view.attempt, CommandState.TERMINATING, now_ms) for view in views]
        )
        count_stopped(written.outcomes, now_ms)
        grace_ms = {view.command_id: view.spec.grace_ms for view in views}
        stops = [
            TerminateItem(outcome.command_id, outcome.agent_id, outcome.attempt, grace_ms[outcome.command_id])
            for outcome in written.outcomes
            if outcome.state is CommandState.TERMINATING
        ]
        await asyncio.gather(
            self._relay.publish(written.entries, subject_id=command_ids[0]), self.pass_on(tenant, stops)
        )

    async def pass_on(self, tenant: str, stops: Sequence[TerminateItem]) -> None:
        """Asks the gateways that have the agents now. Silence is no error: the stop is repeated."""
        by_gateway: dict[str, list[TerminateItem]] = defaultdict(list)
        for stop in stops:
            link = self._find(tenant, stop.agent_id)
            if isinstance(link, Found):
                by_gateway[link.gateway_id].append(stop)
        await asyncio.gather(
            *(self._ask(tenant, gateway_id, items) for gateway_id, items in by_gateway.items())
        )

    async def _ask(self, tenant: str, gateway_id: str, items: Sequence[TerminateItem]) -> None:
        message = codec.encode(GatewayTerminate(tenant=tenant, items=tuple(items)))
        try:
            await self._bus.request(subjects.control(gateway_id), message)
        except (BusError, Unavailable) as error:
            log.warning(
                "dispatcher.gateway_silent", gateway_id=gateway_id, code=error.code, commands=len(items)
            )
