"""Dispatcher and aggregator on a real NATS and a real Redis, with gateways that the test answers for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from quarterdeck.aggregator.intake import REPORTS
from quarterdeck.aggregator.intake import Intake as Reports
from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import CommandSpec, Lane
from quarterdeck.contracts.ids import child_id, new_id
from quarterdeck.contracts.links import Carrier, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import (
    ControlMessage,
    DispatchChunk,
    DispatchItem,
    GatewayOrders,
    GatewayTerminate,
    OrderAnswer,
    OrderAnswers,
    TerminateRequest,
)
from quarterdeck.contracts.reports import Report, ReportBatch
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Bus, Outgoing, ensure_streams
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import LinkRoster, Registry
from quarterdeck.core.registry.keys import gateway_key, link_key
from quarterdeck.core.store import Amendment, CommandView, NewBatch, NewCommand, Store, StoreSettings
from quarterdeck.dispatcher.approvals import Approvals
from quarterdeck.dispatcher.attention import Attention
from quarterdeck.dispatcher.crew import Crew
from quarterdeck.dispatcher.dependencies import Dependencies
from quarterdeck.dispatcher.intake import Intake, lane_consumer
from quarterdeck.testing.eventually import eventually

_orders = codec.Decoder[GatewayOrders](GatewayOrders)
_control = codec.Decoder[ControlMessage](ControlMessage)

SPEC = CommandSpec(command_type="shell", payload=b'{"command":"true"}')


@dataclass
class FakeGateway:
    """Remembers what it was asked, answers as told."""

    gateway_id: str
    answer: OrderAnswer = OrderAnswer.QUEUED
    orders: list[GatewayOrders] = field(default_factory=list)
    stops: list[GatewayTerminate] = field(default_factory=list)
    held: asyncio.Event | None = None
    """While given and not set, orders of the bulk lane are not answered."""

    async def on_order(self, body: bytes, headers: dict[str, str]) -> bytes:
        orders = _orders.decode(body)
        self.orders.append(orders)
        if self.held is not None and orders.spec.lane is Lane.BULK:
            await self.held.wait()
        return codec.encode(OrderAnswers(tuple([self.answer] * len(orders.orders))))

    async def on_control(self, body: bytes, headers: dict[str, str]) -> bytes:
        message = _control.decode(body)
        assert isinstance(message, GatewayTerminate)
        self.stops.append(message)
        return codec.encode(OrderAnswers((OrderAnswer.QUEUED,)))

    @property
    def ordered(self) -> list[str]:
        return [order.command_id for orders in self.orders for order in orders.orders]


class Plane:
    """The services' parts in this process. `attention` is swept by the test, so that nothing happens by chance."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self.bus = bus
        self.store = store
        self.clock = SystemClock()
        self.relay = Relay(bus, store)
        self.registry = Registry(bus)
        self.roster = LinkRoster(self.registry, self.clock)
        self.crew = Crew(self.registry, self.roster.find)
        self.approvals = Approvals(self.registry, self.clock)
        dependencies = Dependencies(store, self.clock, self.approvals)
        parts = bus, store, self.relay, self.clock, self.crew.find
        self.intake = Intake(*parts, dependencies=dependencies)
        self.attention = Attention(*parts, dependencies=dependencies)
        self.reports = Reports(bus, store, self.relay, self.clock)
        self.aggregating: asyncio.Task[None] | None = None

    async def gateway(self, gateway_id: str = "gw1", *agents: str) -> FakeGateway:
        """A gateway that holds links of `agents`; returns when the roster knows."""
        gateway = FakeGateway(gateway_id)
        await self.bus.serve(subjects.order(gateway_id), gateway.on_order)
        await self.bus.serve(subjects.control(gateway_id), gateway.on_control)
        lease = GatewayLease(gateway_id=gateway_id, carrier=Carrier.GRPC, renewed_at_ms=self.clock.now_ms())
        await self.registry.gateways.put(gateway_key(gateway_id), lease)
        for agent in agents:
            await self.link(gateway_id, agent)
        return gateway

    async def link(self, gateway_id: str, agent: str, *, ended_ms_ago: int | None = None) -> None:
        """`ended_ms_ago`: the link ended that long ago, by the agent's doing."""
        now_ms = self.clock.now_ms()
        record = LinkRecord(
            tenant="t",
            agent_id=agent,
            gateway_id=gateway_id,
            carrier=Carrier.GRPC,
            since_ms=now_ms,
            ended_at_ms=None if ended_ms_ago is None else now_ms - ended_ms_ago,
            end=None if ended_ms_ago is None else LinkEnd.CLOSED,
        )
        key = link_key("t", agent)
        revision = await self.registry.links.put(key, record)
        await eventually(
            lambda: (entry := self.registry.links.current.get(key)) is not None and entry.revision >= revision
        )

    async def post(self, agent: str, spec: CommandSpec = SPEC) -> str:
        """What the api does for a single command."""
        command_id, now_ms = new_id(), self.clock.now_ms()
        new = NewCommand(
            command_id=command_id,
            tenant="t",
            user_id="u",
            agent_id=agent,
            spec=spec,
            created_at_ms=now_ms,
            event_payload={"agent_id": agent},
        )
        written = await self.store.create_command(new)
        await self.relay.publish(written.entries)
        chunk = DispatchChunk(
            tenant="t",
            user_id="u",
            spec=spec,
            items=(DispatchItem(command_id, agent),),
            created_at_ms=now_ms,
        )
        await self.queue(chunk, spec)
        return command_id

    async def post_batch(self, agents: tuple[str, ...], spec: CommandSpec = SPEC) -> str:
        batch_id, now_ms = new_id(), self.clock.now_ms()
        written = await self.store.create_batch(
            NewBatch(
                batch_id=batch_id,
                tenant="t",
                user_id="u",
                spec=spec,
                targets=agents,
                created_at_ms=now_ms,
                original_request=b"{}",
                event_payloads=({"targets": list(agents)},),
            )
        )
        await self.relay.publish(written.entries)
        items = tuple(DispatchItem(child_id(batch_id, index), agent) for index, agent in enumerate(agents))
        chunk = DispatchChunk(
            tenant="t", user_id="u", spec=spec, items=items, created_at_ms=now_ms, batch_id=batch_id
        )
        await self.queue(chunk, spec)
        return batch_id

    async def queue(self, message: DispatchChunk | TerminateRequest, spec: CommandSpec = SPEC) -> None:
        await self.bus.publish(Outgoing(subjects.command("t", spec.lane), codec.encode(message)))

    async def report(self, *reports: Report, gateway_id: str = "gw1") -> None:
        batch = ReportBatch(gateway_id=gateway_id, tenant="t", reports=reports)
        await self.bus.publish(Outgoing(subjects.report("t", gateway_id), codec.encode(batch)))

    async def view(self, command_id: str) -> CommandView:
        view = await self.store.command("t", command_id)
        assert view is not None
        return view

    async def until(self, command_id: str, state: CommandState) -> CommandView:
        """The command, once it is in `state`."""

        async def reached() -> bool:
            view = await self.store.command("t", command_id)  # a child is unknown until its chunk is expanded
            return view is not None and view.state is state

        await eventually(reached)
        return await self.view(command_id)

    async def handled(self, stream: str) -> None:
        """Returns once nothing is left in a work-queue stream."""

        async def empty() -> bool:
            return (await self.bus.stream_info(stream)).messages == 0

        await eventually(empty)

    async def look_now(self, *command_ids: str) -> None:
        """One sweep, as if the time to look at these commands had come."""
        await self.store.look_again(command_ids, 0, now_ms=self.clock.now_ms())
        await self.attention.sweep()

    async def stop_aggregator(self) -> None:
        """Reports stay on the bus from now on."""
        assert self.aggregating is not None
        self.aggregating.cancel()
        await asyncio.wait([self.aggregating])

    async def give_up(self, command_id: str) -> None:
        """One sweep, as if the command's deadline had passed."""
        view = await self.view(command_id)
        past_ms = view.created_at_ms - 1
        await self.store.amend([Amendment(command_id, view.attempt, {"deadline_at_ms": past_ms})])
        await self.look_now(command_id)


@asynccontextmanager
async def running_plane(nats_url: str, redis_url: str) -> AsyncIterator[Plane]:
    bus = await Bus.connect(nats_url, name="plane")
    await ensure_streams(bus, 1)
    store = Store(StoreSettings(url=redis_url))
    await store.initialise()
    plane = Plane(bus, store)
    plane.crew.on_able(plane.attention.agent_connected)
    plane.roster.on_link(plane.crew.agent_connected)
    await plane.registry.agents.watch()
    await plane.registry.policies.watch()
    await plane.roster.start()
    stopping = asyncio.Event()
    plane.aggregating = asyncio.create_task(bus.consume(REPORTS, plane.reports.take, stopping))
    tasks = [
        *(
            asyncio.create_task(bus.consume(lane_consumer(lane), plane.intake.take, stopping))
            for lane in Lane
        ),
        plane.aggregating,
    ]
    follower = asyncio.create_task(plane.attention.follow_links())
    try:
        yield plane
    finally:
        stopping.set()
        follower.cancel()
        await asyncio.wait([*tasks, follower])
        await plane.roster.close()
        await plane.registry.close()
        await bus.close()
        await store.close()
