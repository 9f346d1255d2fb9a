"""The api service on real NATS and Redis, reached over a real socket; the test plays dispatcher and agents."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from quarterdeck.api.service import ApiService
from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.agents import AgentRecord, ApiToken
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.links import Carrier, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import QueuedMessage
from quarterdeck.contracts.output import AGENT_HEADER, OFFSET_HEADER, TIME_HEADER
from quarterdeck.contracts.states import CommandState
from quarterdeck.contracts.streams import COMMANDS
from quarterdeck.core.bus import Bus, Outgoing, StoredMessage, ensure_streams
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.registry import Registry, Table
from quarterdeck.core.registry.keys import agent_key, api_token_key, gateway_key, link_key
from quarterdeck.core.runtime import Health, Service, ServiceContext, TaskSet
from quarterdeck.core.settings import CoreSettings
from quarterdeck.core.store import Child, CommandView, Move, Outcome, Store, StoreSettings
from quarterdeck.testing.eventually import eventually
from quarterdeck.web.tokens import token_hash

TENANT = "default"
TOKEN = "qd_test-token"
GATEWAY = "gw1"

T = TypeVar("T")

_queued = codec.Decoder[QueuedMessage](QueuedMessage)


class Deck:
    """What the test does as the rest of the system. `http` carries a valid token."""

    def __init__(self, bus: Bus, store: Store, registry: Registry) -> None:
        self.bus = bus
        self.store = store
        self.registry = registry
        self.relay = Relay(bus, store)
        self.clock = SystemClock()
        self.url = ""
        self.http = httpx.AsyncClient()
        self.contexts: list[ServiceContext] = []

    async def token(self, text: str = TOKEN, *, tenant: str = TENANT, principal: str = "alice") -> None:
        record = ApiToken(token_id=new_id(), tenant=tenant, principal=principal, created_at_ms=1)
        await self.registry.tokens.put(api_token_key(token_hash(text)), record)

    async def agent(self, *agent_ids: str, linked: bool = True, **members: Any) -> None:
        """Enrolled agents; with `linked`, each has a live link to GATEWAY."""
        records = [
            (
                agent_key(TENANT, agent_id),
                AgentRecord(
                    tenant=TENANT, agent_id=agent_id, public_key=b"k", name=f"host {agent_id}", **members
                ),
            )
            for agent_id in agent_ids
        ]
        await self._heard(lambda of: of.agents, records, await self.registry.agents.put_many(records))
        if linked:
            await self.lease()
            await self._put_links([self._link(agent_id, None) for agent_id in agent_ids])

    async def lease(self) -> None:
        lease = GatewayLease(gateway_id=GATEWAY, carrier=Carrier.GRPC, renewed_at_ms=self.clock.now_ms())
        leases = [(gateway_key(GATEWAY), lease)]
        await self._heard(lambda of: of.gateways, leases, await self.registry.gateways.put_many(leases))

    async def unlink(self, agent_id: str, *, ms_ago: int) -> None:
        await self._put_links([self._link(agent_id, self.clock.now_ms() - ms_ago)])

    async def _put_links(self, links: list[tuple[str, LinkRecord]]) -> None:
        await self._heard(lambda of: of.links, links, await self.registry.links.put_many(links))

    async def _heard(
        self, table: Callable[[Registry], Table[T]], items: Sequence[tuple[str, T]], revisions: Sequence[int]
    ) -> None:
        """Every replica knows what was written: each follows the registry in its own time."""

        def all_heard() -> bool:
            copies = [table(ctx.registry).current for ctx in self.contexts]
            return all(
                key in copy and copy[key].revision >= revision
                for copy in copies
                for (key, _), revision in zip(items, revisions, strict=True)
            )

        await eventually(all_heard)

    def _link(self, agent_id: str, ended_at_ms: int | None) -> tuple[str, LinkRecord]:
        record = LinkRecord(
            tenant=TENANT,
            agent_id=agent_id,
            gateway_id=GATEWAY,
            carrier=Carrier.GRPC,
            since_ms=self.clock.now_ms(),
            ended_at_ms=ended_at_ms,
            end=LinkEnd.CLOSED if ended_at_ms else None,
        )
        return link_key(TENANT, agent_id), record

    async def move(self, command_id: str, to: CommandState, attempt: int = 1, **fields: Any) -> Outcome:
        """What dispatcher and aggregator do when a command gets on."""
        written = await self.store.apply([Move(command_id, attempt, to, self.clock.now_ms(), fields)])
        await self.relay.publish(written.entries)
        return written.outcomes[0]

    async def expand(self, batch_id: str, to: CommandState = CommandState.SENT) -> list[CommandView]:
        """What the dispatcher does with all chunks of a batch."""
        batch = await self.store.batch(TENANT, batch_id)
        assert batch is not None
        children = await self.store.children(batch)
        written = await self.store.expand(
            tenant=TENANT,
            user_id=batch.user_id,
            batch_id=batch_id,
            spec=batch.spec,
            created_at_ms=batch.created_at_ms,
            at_ms=self.clock.now_ms(),
            children=[Child(child.command_id, child.agent_id, child.guest, to) for child in children],
        )
        await self.relay.publish(written.entries)
        return children

    async def output(
        self, view: CommandView, body: bytes, offset: int, *, stream: str = "stdout", attempt: int = 1
    ) -> int:
        """What a gateway stores for one chunk; answers the next offset."""
        await self.bus.publish(self.chunk(view, body, offset, stream=stream, attempt=attempt))
        return offset + len(body)

    def chunk(
        self, view: CommandView, body: bytes, offset: int, *, stream: str = "stdout", attempt: int = 1
    ) -> Outgoing:
        headers = {
            OFFSET_HEADER: str(offset),
            AGENT_HEADER: view.agent_id,
            TIME_HEADER: str(self.clock.now_ms()),
        }
        subject = subjects.output(view.tenant, view.batch_id, view.command_id, attempt, stream)
        return Outgoing(subject, body, headers=headers)

    async def stored(self, stream: str, *filters: str) -> list[StoredMessage]:
        """All that a stream holds on `filters`."""
        messages: list[StoredMessage] = []
        async for some in self.bus.read(stream, list(filters) or [">"], follow=False):
            messages += some
        return messages

    async def queued(self) -> list[QueuedMessage]:
        """What waits for the dispatcher, in order. A work queue cannot be read by a consumer without taking from it."""
        facts = await self.bus.stream_info(COMMANDS)
        messages = []
        for sequence in range(max(1, facts.first_sequence), facts.last_sequence + 1):
            found = await self.bus.api.call(f"STREAM.MSG.GET.{COMMANDS}", {"seq": sequence})
            messages.append(_queued.decode(base64.b64decode(found["message"]["data"])))
        return messages

    async def command(self, command_id: str) -> CommandView:
        view = await self.store.command(TENANT, command_id)
        assert view is not None
        return view


def context_of(bus: Bus, store: Store, name: str) -> ServiceContext:
    return ServiceContext(
        settings=CoreSettings(),
        service_id="test",
        bus=bus,
        registry=Registry(bus),
        clock=SystemClock(),
        health=Health(name),
        tasks=TaskSet(),
        stopping=asyncio.Event(),
        maybe_store=store,
    )


@asynccontextmanager
async def running(service: Service, ctx: ServiceContext) -> AsyncIterator[None]:
    """`service` from ready to drained. Raises what it raises."""
    task = asyncio.create_task(service.run(ctx))
    try:
        await eventually(lambda: task.done() or ctx.health.snapshot().ready)
        if task.done():
            task.result()
        yield
    finally:
        ctx.stopping.set()
        await task
        await ctx.tasks.close()
        await ctx.registry.close()


@asynccontextmanager
async def brokers(nats_url: str, redis_url: str) -> AsyncIterator[Deck]:
    bus = await Bus.connect(nats_url, name="deck")
    store = Store(StoreSettings(url=redis_url))
    registry = Registry(bus)
    try:
        await ensure_streams(bus, 1)
        await store.initialise()
        deck = Deck(bus, store, registry)
        await deck.token()
        yield deck
        await deck.http.aclose()
    finally:
        await registry.close()
        await store.close()
        await bus.close()


@asynccontextmanager
async def running_api(deck: Deck, settings: ApiSettings) -> AsyncIterator[httpx.AsyncClient]:
    """One replica; `settings` must name a port file. Yields a client that carries the token."""
    assert settings.port_file is not None
    ctx = context_of(deck.bus, deck.store, "api")
    deck.contexts.append(ctx)
    async with running(ApiService(settings), ctx):
        url = f"http://127.0.0.1:{settings.port_file.read_text().strip()}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            try:
                yield client
            finally:
                deck.contexts.remove(ctx)
