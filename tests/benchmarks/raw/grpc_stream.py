"""Raw hops: bidirectional gRPC streams over TLS, without a protocol on top. Run as a companion; asked by the functions.

Upload: messages of 64 KiB one way, one answer at the end. Echo: each message comes back.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio

from quarterdeck.wire.pki import CertificateAuthority
from tests.benchmarks.companion import Benchmark, Companion, run_companion

MESSAGE_BYTES: Final = 64 * 1024
_SERVICE: Final = "raw.Hop"
_STREAMS_PER_CHANNEL: Final = 100


async def upload_bytes_per_s(*, total_bytes: int) -> float:
    """From the first write to the answer that all of it was read."""
    message = b"\0" * MESSAGE_BYTES
    async with _Server() as server:
        call = server.channel().stream_stream(f"/{_SERVICE}/Upload")()
        await call.wait_for_connection()
        began_s = time.perf_counter()
        for _ in range(total_bytes // MESSAGE_BYTES):
            await call.write(message)
        await call.done_writing()
        received_bytes = int.from_bytes(await call.read())
        return received_bytes / (time.perf_counter() - began_s)


async def echo_s(*, messages: int, streams: int) -> float:
    """Seconds until `messages` small ones have come back, spread over `streams` that are open already."""
    message = b"x" * 200
    async with _Server() as server:
        channels = [server.channel() for _ in range(-(-streams // _STREAMS_PER_CHANNEL))]
        calls = [
            channels[number // _STREAMS_PER_CHANNEL].stream_stream(f"/{_SERVICE}/Echo")()
            for number in range(streams)
        ]

        async def exchange(call: Any, count: int) -> None:
            for _ in range(count):
                await call.write(message)
                await call.read()

        await asyncio.gather(*(exchange(call, 1) for call in calls))
        began_s = time.perf_counter()
        await asyncio.gather(*(exchange(call, messages // streams) for call in calls))
        return time.perf_counter() - began_s


class _Server:
    """The companion, and channels to it."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._companion: Companion | None = None
        self._port = 0
        self._channels: list[Any] = []

    async def __aenter__(self) -> "_Server":
        self._companion = await Companion.start(__name__, self._directory.name)
        self._port = (await self._companion.hear())["port"]
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close(None)
        if self._companion is not None:
            await self._companion.stop()
        self._directory.cleanup()

    def channel(self) -> Any:
        """A TLS connection of its own."""
        ca_pem = (Path(self._directory.name) / "ca.pem").read_bytes()
        channel = grpc.aio.secure_channel(
            f"localhost:{self._port}",
            grpc.ssl_channel_credentials(root_certificates=ca_pem),
            options=(("grpc.use_local_subchannel_pool", 1),),
        )
        self._channels.append(channel)
        return cast(Any, channel)


async def _take(_requests: AsyncIterator[bytes], context: Any) -> None:
    received_bytes = 0
    while isinstance(message := await context.read(), bytes):
        received_bytes += len(message)
    await context.write(received_bytes.to_bytes(8))


async def _return(_requests: AsyncIterator[bytes], context: Any) -> None:
    while isinstance(message := await context.read(), bytes):
        await context.write(message)


async def main(benchmark: Benchmark) -> None:
    authority = CertificateAuthority.load_or_create(Path(sys.argv[1]))
    certificate = authority.issue_server()
    server = grpc.aio.server()
    handlers = {
        "Upload": grpc.stream_stream_rpc_method_handler(cast(Any, _take)),
        "Echo": grpc.stream_stream_rpc_method_handler(cast(Any, _return)),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials([(certificate.key_pem, certificate.certificate_pem)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    benchmark.tell({"port": port})
    while await benchmark.hear() is not None:
        pass
    await server.stop(grace=0)


if __name__ == "__main__":
    run_companion(main)
