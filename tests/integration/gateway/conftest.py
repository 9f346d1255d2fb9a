"""A gateway over a real NATS, without a carrier: agents come through pipes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.agents import JoinToken
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.links import Carrier, Epoch
from quarterdeck.contracts.orders import GatewayOrder, GatewayOrders, OrderAnswer, OrderAnswers
from quarterdeck.contracts.reports import Report, ReportBatch
from quarterdeck.contracts.streams import REPORTS
from quarterdeck.core.bus import Bus, ConsumerShape, Incoming, ensure_streams
from quarterdeck.core.clock import ManualClock
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import join_token_key
from quarterdeck.core.runtime import TaskSet
from quarterdeck.gateway.gateway import Gateway
from quarterdeck.gateway.settings import GatewaySettings
from quarterdeck.wire.identity import AgentKey
from quarterdeck.wire.join_token import secret_hash
from tests.integration.gateway.peer import Peer
from tests.integration.gateway.pipe import PipeEnd, pipe

_batches: codec.Decoder[ReportBatch] = codec.Decoder(ReportBatch)
_answers: codec.Decoder[OrderAnswers] = codec.Decoder(OrderAnswers)


class Aggregator:
    """Takes every report message, as the real one does, and keeps it."""

    def __init__(self) -> None:
        self.batches: list[ReportBatch] = []
        self._more = asyncio.Condition()

    async def take(self, messages: list[Incoming]) -> None:
        async with self._more:
            self.batches += [_batches.decode(message.body) for message in messages]
            self._more.notify_all()

    @property
    def reports(self) -> list[Report]:
        return [report for batch in self.batches for report in batch.reports]

    async def wait(self, until: Callable[[list[Report]], bool], timeout_s: float = 20) -> None:
        """Until the reports of all batches satisfy `until`."""
        async with asyncio.timeout(timeout_s), self._more:
            await self._more.wait_for(lambda: until(self.reports))


class House:
    """One gateway and the bus around it."""

    def __init__(self, bus: Bus, aggregator: Aggregator, settings: GatewaySettings) -> None:
        self.bus = bus
        self.aggregator = aggregator
        self.clock = ManualClock()
        self.settings = settings
        self.tasks = TaskSet()
        self.registry = Registry(bus)
        self.gateway = Gateway(self.registry, self.clock, self.tasks, settings)
        self.pipes: dict[str, PipeEnd] = {}
        self.served: list[asyncio.Task[None]] = []

    def call(self, agent_id: str, key: AgentKey | None = None, tenant: str = "acme") -> Peer:
        """An agent that has connected and said nothing yet."""
        ours, theirs = pipe()
        self.pipes[agent_id] = theirs
        self.served.append(asyncio.create_task(self.gateway.serve(ours), name=f"serve-{agent_id}"))
        return Peer(theirs, key or AgentKey.generate(), agent_id, tenant)

    async def join_token(self, secret: str = "s" * 32, **fields: object) -> str:
        """A join token of tenant `acme`, good for 100 agents unless `fields` say otherwise."""
        token = JoinToken(
            **{  # type: ignore[arg-type]  # fields come from the test
                "token_id": "t1",
                "tenant": "acme",
                "created_at_ms": self.clock.now_ms(),
                "expires_at_ms": self.clock.now_ms() + 900_000,
                "uses_left": 100,
                **fields,
            }
        )
        await self.registry.tokens.put(join_token_key(secret_hash(secret)), token)
        return secret

    async def agent(self, agent_id: str) -> Peer:
        """An enrolled agent with a link."""
        return await self.call(agent_id).open(join_secret=await self.join_token())

    async def order(
        self,
        *targets: tuple[Peer, str],
        batch_id: str | None = None,
        epoch: Epoch | None = None,
        priority: int = 5,
    ) -> tuple[OrderAnswer, ...]:
        """What a dispatcher does: one message with an order per (agent, command id)."""
        orders = GatewayOrders(
            tenant="acme",
            batch_id=batch_id,
            spec=CommandSpec(command_type="shell", payload=b'{"command": "true"}', priority=priority),
            orders=tuple(
                GatewayOrder(
                    command_id=command_id,
                    agent_id=peer.agent_id,
                    attempt=1,
                    epoch=epoch or Epoch(peer.epoch.incarnation, peer.epoch.revision),
                    timeout_ms=60_000,
                )
                for peer, command_id in targets
            ),
        )
        raw = await self.bus.request(subjects.order(self.settings.gateway_id), codec.encode(orders))
        return _answers.decode(raw).answers

    async def batches(self, until: Callable[[list[Report]], bool]) -> list[ReportBatch]:
        """Report messages from the first on, once their reports satisfy `until`."""
        await self.aggregator.wait(until)
        return self.aggregator.batches

    async def reports(self, until: Callable[[list[Report]], bool]) -> list[Report]:
        await self.aggregator.wait(until)
        return self.aggregator.reports

    async def close(self) -> None:
        for task in self.served:
            task.cancel()
        await asyncio.gather(*self.served, return_exceptions=True)
        await self.tasks.close()
        await self.registry.close()


Build = Callable[..., Awaitable[House]]


@pytest.fixture
async def bus(shared_nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(shared_nats_url, name="test-gateway")
    await ensure_streams(bus)
    yield bus
    await bus.close()


@pytest.fixture
async def aggregator(bus: Bus) -> AsyncIterator[Aggregator]:
    aggregator, stopping = Aggregator(), asyncio.Event()
    shape = ConsumerShape(stream=REPORTS, durable="test-aggregator", filter=subjects.ALL_REPORTS)
    consuming = asyncio.create_task(bus.consume(shape, aggregator.take, stopping))
    yield aggregator
    stopping.set()
    await consuming


@pytest.fixture
async def build(bus: Bus, aggregator: Aggregator) -> AsyncIterator[Build]:
    """Makes gateways; `build(silence_s=1.0)` changes a setting."""
    houses: list[House] = []

    async def make(**fields: object) -> House:
        settings = GatewaySettings(
            **{  # type: ignore[arg-type]  # fields come from the test
                "gateway_id": f"g-{new_id()}",
                "carrier": Carrier.GRPC,
                "drain_ms": 100,
                **fields,
            }
        )
        house = House(bus, aggregator, settings)
        houses.append(house)
        await house.gateway.start()
        return house

    yield make
    for house in houses:
        await house.close()


@pytest.fixture
async def house(build: Build) -> House:
    return await build()
