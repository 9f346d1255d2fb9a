"""Raw hop: one QUIC stream through aioquic, one way. Both ends run as companions; asked by `upload_bytes_per_s`.

On asyncio's own loop: over uvloop the same upload takes eight times as long (measured).
"""

import asyncio
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived

from quarterdeck.wire.pki import CertificateAuthority
from tests.benchmarks.companion import Benchmark, Companion, run_companion

_ALPN: Final = "raw/1"
_WRITE_BYTES: Final = 64 * 1024
_HIGH_WATER_BYTES: Final = 1024 * 1024
"""aioquic pushes back on nobody: more unsent than this only costs memory."""
_SOCKET_BUFFER_BYTES: Final = 4 * 1024 * 1024


async def upload_bytes_per_s(*, total_bytes: int) -> float:
    """From the first write to the answer that all of it was read."""
    with tempfile.TemporaryDirectory() as directory:
        async with (
            await Companion.start(__name__, "receive", directory) as receiver,
            await Companion.start(__name__, "send", directory) as sender,
        ):
            port = (await receiver.hear())["port"]
            answer = await sender.ask({"port": port, "bytes": total_bytes}, timeout_s=120)
            return float(answer["bytes_per_s"])


def _widen(transport: asyncio.DatagramTransport) -> None:
    """Buffers as the product has them: with the kernel's own, bursts are lost and the sender slows down tenfold."""
    udp: socket.socket = transport.get_extra_info("socket")
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        udp.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)


class _Uploader(QuicConnectionProtocol):
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._acknowledged = asyncio.Event()

    async def upload(self, total_bytes: int) -> float:
        stream_id = self._quic.get_next_available_stream_id()
        piece = b"\0" * _WRITE_BYTES
        began_s = time.perf_counter()
        for _ in range(total_bytes // _WRITE_BYTES):
            self._quic.send_stream_data(stream_id, piece)
            self.transmit()
            while len(self._quic._streams[stream_id].sender._buffer) > _HIGH_WATER_BYTES:
                self._acknowledged.clear()
                await self._acknowledged.wait()
        self._quic.send_stream_data(stream_id, b"", end_stream=True)
        self.transmit()
        received_bytes = int.from_bytes(await self._answer)
        return received_bytes / (time.perf_counter() - began_s)

    def datagram_received(self, data: bytes | str, addr: object) -> None:
        super().datagram_received(data, addr)
        self._acknowledged.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and not self._answer.done():
            self._answer.set_result(event.data)


class _Receiver(QuicConnectionProtocol):
    _received_bytes = 0

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._received_bytes += len(event.data)
            if event.end_stream:
                self._quic.send_stream_data(
                    event.stream_id, self._received_bytes.to_bytes(8), end_stream=True
                )
                self.transmit()


async def main(benchmark: Benchmark) -> None:
    role, directory = sys.argv[1], Path(sys.argv[2])
    await (_send if role == "send" else _receive)(benchmark, directory)


async def _send(benchmark: Benchmark, directory: Path) -> None:
    while (wish := await benchmark.hear()) is not None:
        configuration = QuicConfiguration(alpn_protocols=[_ALPN], server_name="localhost")
        configuration.load_verify_locations(str(directory / "ca.pem"))
        configuration.verify_mode = ssl.CERT_REQUIRED
        async with connect(
            "127.0.0.1", wish["port"], configuration=configuration, create_protocol=_Uploader
        ) as protocol:
            assert isinstance(protocol, _Uploader)
            assert protocol._transport is not None
            _widen(protocol._transport)
            benchmark.tell({"bytes_per_s": await protocol.upload(wish["bytes"])})


async def _receive(benchmark: Benchmark, directory: Path) -> None:
    certificate = CertificateAuthority.load_or_create(directory).issue_server()
    (directory / "server.pem").write_bytes(certificate.certificate_pem)
    (directory / "server.key").write_bytes(certificate.key_pem)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[_ALPN])
    configuration.load_cert_chain(directory / "server.pem", directory / "server.key")
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=_Receiver)
    assert server._transport is not None
    _widen(server._transport)
    benchmark.tell({"port": server._transport.get_extra_info("sockname")[1]})
    while await benchmark.hear() is not None:
        pass
    server.close()


if __name__ == "__main__":
    run_companion(main, on_uvloop=False)
