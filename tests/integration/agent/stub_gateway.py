"""A gateway reduced to its wire: TLS, both carriers, the opening. For tests of the agent alone.

Each link that an agent opens comes out of `links` before its Challenge is sent; the test decides how the opening goes.
An open link offers the same two methods as an ExecutorPort, so a Conversation can be held over it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived

from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.links import Carrier
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import ALPN, GRPC_METHOD
from quarterdeck.wire.framing import FrameDecoder, encode
from quarterdeck.wire.pki import CertificateAuthority

PATIENCE_S = 45.0
"""Longer than the slowest machine needs: only a test that would fail anyway waits for it."""


class StubLink:
    """One link. `incoming` holds frames of the agent, None at the end."""

    def __init__(self, write: Callable[[bytes], Any], close: Callable[[], None]) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.nonce = os.urandom(32)
        self._write = write
        self._close = close

    async def send(self, frame: bytes) -> None:
        written = self._write(frame)
        if written is not None:
            await written

    async def receive(self) -> bytes:
        frame = await self.incoming.get()
        if frame is None:
            raise ConnectionResetError("the agent closed the link")
        return frame

    def close(self) -> None:
        self._close()

    async def say(self, **body: Any) -> None:
        await self.send(pb.GatewayFrame(messages=[pb.GatewayMessage(**body)]).SerializeToString())

    async def hear(self) -> pb.AgentMessage:
        """The one message of the next frame."""
        async with asyncio.timeout(PATIENCE_S):
            (message,) = pb.AgentFrame.FromString(await self.receive()).messages
        return message

    async def ended(self) -> list[pb.AgentMessage]:
        """Everything the agent still says until it closes the link."""
        said: list[pb.AgentMessage] = []
        async with asyncio.timeout(PATIENCE_S):
            while (frame := await self.incoming.get()) is not None:
                said += pb.AgentFrame.FromString(frame).messages
        return said

    async def challenge(self) -> pb.AgentMessage:
        """Send the Challenge; returns the answer, an Enrol or a Hello."""
        await self.say(challenge=pb.Challenge(nonce=self.nonce, gateway_id="stub"))
        return await self.hear()


class StubGateway(Protocol):
    address: ServerAddress
    links: asyncio.Queue[StubLink]


async def next_link(gateway: StubGateway) -> StubLink:
    async with asyncio.timeout(PATIENCE_S):
        return await gateway.links.get()


class GrpcStub:
    """The gRPC carrier."""

    def __init__(self) -> None:
        self.links: asyncio.Queue[StubLink] = asyncio.Queue()

    async def start(self, authority: CertificateAuthority) -> None:
        issued = authority.issue_server()
        credentials = grpc.ssl_server_credentials([(issued.key_pem, issued.certificate_pem)])
        handlers = {"Connect": grpc.stream_stream_rpc_method_handler(self._connect)}
        self._server = grpc.aio.server()
        service = GRPC_METHOD.split("/")[1]
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()
        self.address = ServerAddress(Carrier.GRPC, "127.0.0.1", port)

    async def stop(self) -> None:
        await self._server.stop(grace=None)

    async def _connect(self, requests: AsyncIterator[bytes], context: Any) -> None:
        closed = asyncio.Event()
        link = StubLink(context.write, closed.set)
        self.links.put_nowait(link)
        reading = asyncio.create_task(self._read(requests, link, closed))
        try:
            await closed.wait()
        finally:
            reading.cancel()
            link.incoming.put_nowait(None)

    async def _read(self, requests: AsyncIterator[bytes], link: StubLink, closed: asyncio.Event) -> None:
        try:
            async for frame in requests:
                link.incoming.put_nowait(frame)
        finally:
            closed.set()


class _QuicStubProtocol(QuicConnectionProtocol):
    gateway: "QuicStub"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._decoder = FrameDecoder()
        self._link: StubLink | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated) and self._link is not None:
            self._link.incoming.put_nowait(None)
        if isinstance(event, StreamDataReceived) and self._link is not None:
            for frame in self._decoder.feed(event.data):
                self._link.incoming.put_nowait(frame)
        if self._link is None and self._connected_for_stub(event):
            stream_id = self._quic.get_next_available_stream_id()

            def write(frame: bytes) -> None:
                self._quic.send_stream_data(stream_id, encode(frame))
                self.transmit()

            self._link = StubLink(write, self.close)
            self.gateway.links.put_nowait(self._link)

    @staticmethod
    def _connected_for_stub(event: QuicEvent) -> bool:
        return type(event).__name__ == "HandshakeCompleted"


class QuicStub:
    """The QUIC carrier."""

    def __init__(self) -> None:
        self.links: asyncio.Queue[StubLink] = asyncio.Queue()

    async def start(self, authority: CertificateAuthority, directory: Path) -> None:
        issued = authority.issue_server()
        (directory / "quic.pem").write_bytes(issued.certificate_pem)
        (directory / "quic.key").write_bytes(issued.key_pem)
        configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
        configuration.load_cert_chain(directory / "quic.pem", directory / "quic.key")
        protocol = type("_Bound", (_QuicStubProtocol,), {"gateway": self})
        self._server: QuicServer = await serve(
            "127.0.0.1", 0, configuration=configuration, create_protocol=protocol, retry=True
        )
        transport = self._server._transport
        assert transport is not None
        self.address = ServerAddress(Carrier.QUIC, "127.0.0.1", transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        self._server.close()

    def die(self) -> None:
        """As by SIGKILL: from now on nothing answers, and nobody was told."""
        self._server.datagram_received = lambda data, addr: None  # type: ignore[method-assign]
