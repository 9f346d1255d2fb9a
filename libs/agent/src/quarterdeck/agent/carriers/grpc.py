"""The gRPC carrier: one call of AgentLink/Connect, a message per frame. The only module of the agent that imports grpc.

Frames pass as bytes, so no generated stub is needed. Writing pushes back by itself: HTTP/2 flow control holds `write`.
"""

import asyncio
from typing import Any, Final, cast

import grpc
import grpc.aio

from quarterdeck.agent.errors import ConnectionLost
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.limits import MAX_FRAME_BYTES
from quarterdeck.wire.codes import GRPC_METHOD

_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 1.0

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    # Channels with equal arguments share one TCP connection otherwise, and with it their fate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # Half of the gateway's idle limit: a dead path is noticed although nobody has anything to say.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


class GrpcChannel:
    """A TLS connection to one gateway, for one link or, in simulations, for many."""

    def __init__(self, address: ServerAddress, ca_pem: bytes) -> None:
        host = f"[{address.host}]" if ":" in address.host else address.host
        self.peer: Final = str(address)
        self._channel = grpc.aio.secure_channel(
            f"{host}:{address.port}",
            grpc.ssl_channel_credentials(root_certificates=ca_pem),
            options=_OPTIONS,
        )
        # Any: the stubs demand arguments that have defaults.
        self._connect = cast(Any, self._channel).stream_stream(GRPC_METHOD)

    async def open_link(self) -> "GrpcConnection":
        """One call on this channel. Raises ConnectionLost when the gateway does not answer in time."""
        call = self._connect()
        connection = GrpcConnection(call, self.peer)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await call.wait_for_connection()
        except TimeoutError:
            call.cancel()
            raise ConnectionLost("timed out") from None
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error
        return connection

    async def close(self) -> None:
        await self._channel.close(None)


class GrpcConnection:
    """One call, as a Connection. Closes `channel` with itself when it owns one."""

    def __init__(self, call: Any, peer: str) -> None:
        self._call = call
        self._owned_channel: GrpcChannel | None = None
        self._peer = peer

    @property
    def peer(self) -> str:
        return self._peer

    def own(self, channel: GrpcChannel) -> None:
        """From now on, `close` closes `channel` too."""
        self._owned_channel = channel

    async def send(self, frame: bytes) -> None:
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error
        except asyncio.InvalidStateError as error:  # the call has ended meanwhile; `receive` knows how
            raise ConnectionLost("the call has ended") from error

    async def receive(self) -> bytes | None:
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _lost(error) from error
        return frame if isinstance(frame, bytes) else None

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._call.done_writing()
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # broken or stuck: there is nothing left to say
        self._call.cancel()
        if self._owned_channel is not None:
            await self._owned_channel.close()


async def connect(address: ServerAddress, ca_pem: bytes) -> GrpcConnection:
    """A link's own connection. Raises ConnectionLost."""
    channel = GrpcChannel(address, ca_pem)
    try:
        connection = await channel.open_link()
    except BaseException:
        await channel.close()
        raise
    connection.own(channel)
    return connection


def _lost(error: grpc.aio.AioRpcError) -> ConnectionLost:
    return ConnectionLost(f"{error.code().name.lower()}: {error.details()}")
