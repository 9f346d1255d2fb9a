"""The two gateway services on real sockets, and agents that come over the agent's own carriers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quarterdeck.agent.carriers.dial import Dialer
from quarterdeck.agent.ports import Connection
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.links import Carrier
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.core.registry import Registry
from quarterdeck.core.runtime import Health, Service, ServiceContext, TaskSet
from quarterdeck.core.settings import CoreSettings
from quarterdeck.grpc_gateway.service import GrpcGateway
from quarterdeck.grpc_gateway.settings import GrpcGatewaySettings
from quarterdeck.quic_gateway.service import QuicGateway
from quarterdeck.quic_gateway.settings import QuicGatewaySettings
from quarterdeck.wire.identity import AgentKey
from quarterdeck.wire.pki import CertificateAuthority
from tests.integration.gateway.peer import Peer


class Station:
    """One gateway service that listens, in this process."""

    def __init__(
        self, carrier: Carrier, gateway_id: str, ctx: ServiceContext, port: int, ca_pem: bytes
    ) -> None:
        self.gateway_id = gateway_id
        self.ctx = ctx
        self.address = ServerAddress(carrier, "127.0.0.1", port)
        self.ca_pem = ca_pem
        self.plain_address: str | None = None
        """host:port without TLS, where strangers are admitted and the carrier is gRPC."""
        self.wires: list[Connection] = []

    async def call(self, agent_id: str, key: AgentKey | None = None) -> Peer:
        """An agent that has connected and said nothing yet."""
        wire = await Dialer(self.ca_pem)(self.address)
        self.wires.append(wire)
        return Peer(wire, key or AgentKey.generate(), agent_id)


@asynccontextmanager
async def station(
    bus: Bus, carrier: Carrier, directory: Path, *, admit_dialects: bool = False, clock: Clock | None = None
) -> AsyncIterator[Station]:
    """Runs the service of `carrier` until the block ends, then drains it. Fails when the service failed."""
    authority = CertificateAuthority.load_or_create(directory)
    server = authority.issue_server()
    (directory / "server.pem").write_bytes(server.certificate_pem)
    (directory / "server.key").write_bytes(server.key_pem)
    name = f"gw-{carrier}"
    ready = asyncio.Event()
    ctx = _context(bus, ready, clock or SystemClock())
    running = asyncio.create_task(_service(carrier, name, directory, admit_dialects).run(ctx))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    await ctx.registry.gateways.watch()
    [gateway_id] = (key for key in ctx.registry.gateways.current if key.startswith(name))
    port = int((directory / "port").read_text())
    gateway = Station(carrier, gateway_id, ctx, port, authority.certificate_pem)
    if (directory / "plain_port").exists():
        gateway.plain_address = f"127.0.0.1:{int((directory / 'plain_port').read_text())}"
    try:
        yield gateway
    finally:
        await asyncio.gather(*(wire.close() for wire in gateway.wires))
        ctx.stopping.set()
        async with asyncio.timeout(15):
            await running
        await ctx.tasks.close()
        await ctx.registry.close()
    assert not ctx.tasks.crashed.done(), ctx.tasks.crashed


def _service(carrier: Carrier, name: str, directory: Path, admit_dialects: bool) -> Service:
    common: dict[str, Any] = {
        "cert": directory / "server.pem",
        "key": directory / "server.key",
        "host": "127.0.0.1",
        "port": 0,
        "port_file": directory / "port",
        "gateway_id": name,
        "drain_ms": 200,
        "admit_dialects": admit_dialects,
    }
    if carrier is Carrier.QUIC:
        return QuicGateway(QuicGatewaySettings(**common))
    if admit_dialects:
        common |= {"plain_port": 0, "plain_port_file": directory / "plain_port"}
    return GrpcGateway(GrpcGatewaySettings(**common))


class _ReadySignal(Health):
    def __init__(self, ready: asyncio.Event) -> None:
        super().__init__("test-gateway")
        self._ready_signal = ready

    def mark_ready(self) -> None:
        super().mark_ready()
        self._ready_signal.set()


def _context(bus: Bus, ready: asyncio.Event, clock: Clock) -> ServiceContext:
    return ServiceContext(
        settings=CoreSettings(),
        service_id="test",
        bus=bus,
        registry=Registry(bus),
        clock=clock,
        health=_ReadySignal(ready),
        tasks=TaskSet(),
        stopping=asyncio.Event(),
    )
