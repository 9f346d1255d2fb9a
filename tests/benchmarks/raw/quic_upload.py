"""Raw hop: one QUIC stream through aioquic, one way. Run as a companion; asked by `upload_bytes_per_s`."""

import asyncio
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


async def upload_bytes_per_s(*, total_bytes: int) -> float:
    """From the first write to the answer that all of it was read."""
    with tempfile.TemporaryDirectory() as directory:
        async with await Companion.start(__name__, directory) as companion:
            port = (await companion.hear())["port"]
            configuration = QuicConfiguration(alpn_protocols=[_ALPN], server_name="localhost")
            configuration.load_verify_locations(str(Path(directory) / "ca.pem"))
            configuration.verify_mode = ssl.CERT_REQUIRED
            async with connect(
                "127.0.0.1", port, configuration=configuration, create_protocol=_Uploader
            ) as protocol:
                assert isinstance(protocol, _Uploader)
                return await protocol.upload(total_bytes)


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
    directory = Path(sys.argv[1])
    certificate = CertificateAuthority.load_or_create(directory).issue_server()
    (directory / "server.pem").write_bytes(certificate.certificate_pem)
    (directory / "server.key").write_bytes(certificate.key_pem)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[_ALPN])
    configuration.load_cert_chain(directory / "server.pem", directory / "server.key")
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=_Receiver)
    assert server._transport is not None
    benchmark.tell({"port": server._transport.get_extra_info("sockname")[1]})
    while await benchmark.hear() is not None:
        pass
    server.close()


if __name__ == "__main__":
    run_companion(main)
