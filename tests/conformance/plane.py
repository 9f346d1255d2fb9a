"""A gateway of one carrier, real agents and played ones at it, and what the rest of the plane hears of them."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.agents import JoinToken as JoinTokenRecord
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.links import Carrier, Epoch, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import (
    GatewayCloseLinks,
    GatewayOrder,
    GatewayOrders,
    GatewayTerminate,
    TerminateItem,
)
from quarterdeck.contracts.reports import Report
from quarterdeck.contracts.streams import FEED
from quarterdeck.core import metrics
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.registry.keys import join_token_key, link_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.join_token import JoinToken, secret_hash
from quarterdeck.wire.pki import CertificateAuthority
from tests.integration.gateway.carriers import Station, station
from tests.integration.gateway.conftest import Aggregator

TENANT = "default"
PATIENCE_S = 60.0
"""A bound for what is broken, not an expectation."""

R = TypeVar("R", bound=Report)


@dataclass(frozen=True)
class Job:
    """A command, and what a good agent answers to it."""

    command_type: str
    payload: Mapping[str, object]
    stdout: bytes = b""
    result: object = None
    """JSON."""


class SkippingClock(SystemClock):
    """The clock of this machine, but for durations that a test wants behind it."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._skipped_s

    def skip(self, seconds: float) -> None:
        self._skipped_s += seconds


class Plane:
    """One gateway; what a dispatcher asks of it, and what an aggregator hears."""

    def __init__(
        self, gateway: Station, aggregator: Aggregator, clock: SkippingClock, directory: Path
    ) -> None:
        self.gateway = gateway
        self.aggregator = aggregator
        self.clock = clock
        self.directory = directory
        self.callers = AsyncExitStack()
        """Hangs up for those that came, the last one first."""
        self._numbers = count(1)
        self._orders: dict[str, bytes] = {}

    async def join_token(self) -> JoinToken:
        """Enrols any number of our own agents."""
        authority = CertificateAuthority.load_or_create(self.directory)
        token = JoinToken("s" * 32, authority.certificate_der)
        record = JoinTokenRecord(
            token_id="t", tenant=TENANT, created_at_ms=0, expires_at_ms=1 << 50, uses_left=100
        )
        await self.gateway.ctx.registry.tokens.put(join_token_key(secret_hash(token.secret)), record)
        return token

    # ---- Links

    async def link(self, agent_id: str) -> tuple[LinkRecord, Epoch]:
        """The newest record of the agent's link, live or ended, once there is one."""
        links = self.gateway.ctx.registry.links

        async def known() -> bool:
            return await links.get(link_key(TENANT, agent_id)) is not None

        await eventually(known, within_s=PATIENCE_S)
        entry = await links.get(link_key(TENANT, agent_id))
        assert entry is not None
        return entry.value, Epoch(links.incarnation, entry.revision)

    async def connected(self, agent_id: str, above: int = 0) -> Epoch:
        """The epoch of the agent's live link, once its revision is above `above`."""

        async def live() -> bool:
            record, epoch = await self.link(agent_id)
            return record.end is None and epoch.revision > above

        await eventually(live, within_s=PATIENCE_S)
        return (await self.link(agent_id))[1]

    async def ended(self, agent_id: str) -> LinkEnd:
        """Why the agent's last link ended, once it did."""

        async def over() -> bool:
            return (await self.link(agent_id))[0].end is not None

        await eventually(over, within_s=PATIENCE_S)
        end = (await self.link(agent_id))[0].end
        assert end is not None
        return end

    async def cut(self, agent_id: str) -> None:
        await self._control(GatewayCloseLinks(tenant=TENANT, agent_ids=(agent_id,), reason="closed"))

    # ---- Commands

    async def order(self, agent_id: str, job: Job, *, timeout_ms: int = 600_000) -> str:
        """What a dispatcher does; the command's id."""
        command_id = f"c-{next(self._numbers)}"
        order = GatewayOrder(command_id, agent_id, 1, await self.connected(agent_id), timeout_ms)
        payload = json.dumps(job.payload).encode()
        spec = CommandSpec(command_type=job.command_type, payload=payload, grace_ms=200)
        orders = GatewayOrders(tenant=TENANT, spec=spec, orders=(order,))
        self._orders[command_id] = codec.encode(orders)
        await self.order_again(command_id)
        return command_id

    async def order_again(self, command_id: str) -> None:
        """What a dispatcher does that does not know whether its message arrived."""
        request = self._orders[command_id]
        await self.gateway.ctx.bus.request(subjects.order(self.gateway.gateway_id), request)

    async def terminate(self, agent_id: str, command_id: str) -> None:
        item = TerminateItem(command_id, agent_id, 1, 200)
        await self._control(GatewayTerminate(tenant=TENANT, items=(item,)))

    def reports(self, kind: type[R], command_id: str) -> list[R]:
        """So far."""
        found = self.aggregator.reports
        return [each for each in found if isinstance(each, kind) and each.command_id == command_id]

    async def report(self, kind: type[R], command_id: str) -> R:
        """The first of its kind, once it is there."""
        await self.aggregator.wait(lambda _: bool(self.reports(kind, command_id)), timeout_s=PATIENCE_S)
        return self.reports(kind, command_id)[0]

    async def stored(self, command_id: str, stream: str = "stdout") -> bytes:
        """What the log has of a stream."""
        subject = subjects.output(TENANT, None, command_id, 1, stream)
        read = self.gateway.ctx.bus.read(FEED, [subject], follow=False)
        return b"".join([message.body async for messages in read for message in messages])

    async def until_stored(self, command_id: str, content: bytes) -> None:
        async def there() -> bool:
            return await self.stored(command_id) == content

        await eventually(there, within_s=PATIENCE_S)

    async def until_fenced(self, dialect: str, saying: Callable[[], Awaitable[None]]) -> None:
        """Returns when what `saying` says was fenced at the gateway."""
        counter = metrics.FENCED_MESSAGES.labels(dialect)
        before = float(counter._value.get())
        await saying()
        await eventually(lambda: float(counter._value.get()) > before, within_s=PATIENCE_S)

    async def _control(self, request: GatewayTerminate | GatewayCloseLinks) -> None:
        subject = subjects.control(self.gateway.gateway_id)
        await self.gateway.ctx.bus.request(subject, codec.encode(request))


@asynccontextmanager
async def plane_of(
    carrier: Carrier, bus: Bus, aggregator: Aggregator, directory: Path
) -> AsyncIterator[Plane]:
    """Strangers are admitted. Agents hang up before the gateway leaves."""
    clock = SkippingClock()
    async with station(bus, carrier, directory, admit_dialects=True, clock=clock) as gateway:
        plane = Plane(gateway, aggregator, clock, directory)
        async with plane.callers:
            yield plane
