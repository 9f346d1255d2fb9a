"""The gRPC carrier: one bidirectional call is one link, one message one frame. The only module here that imports grpc.

Frames pass as raw bytes, so no generated stub is needed and nothing is decoded twice. `context.write` waits for HTTP/2
flow control: it is the push-back that a slow agent needs. Made and closed by `service`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio

from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.grpc_gateway.handlers import peer_address, server_options

_GONE: Final = (aio.BaseError, aio.AioRpcError, asyncio.InvalidStateError)
"""All that grpc.aio lets out of read and write on a call that is over (its ExecuteBatchError is a BaseError)."""
_CLOSE_GRACE_S: Final = 1.0
_CANCEL_FOLLOWS_S: Final = 0.1
"""A cancelled call looks like one that ended in order until its cancellation comes, on a way of its own."""


class GrpcConnection:
    """One call. Lives in the task of its handler."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._task = asyncio.current_task()
        self._reading = False
        self._closing = asyncio.Event()

    @property
    def peer(self) -> str:
        return peer_address(self._context.peer())

    async def send(self, frame: bytes) -> None:
        try:
            await self._context.write(frame)
        except _GONE as error:
            raise ConnectionLost("the call is over") from error

    async def receive(self) -> bytes | None:
        if self._closing.is_set():
            return None
        self._reading = True
        try:
            frame = await self._context.read()
            if not isinstance(frame, bytes):
                # aio.EOF, also when the agent cancelled: then grpc.aio cancels this task, some turns of the loop later.
                await asyncio.sleep(_CANCEL_FOLLOWS_S)
        except asyncio.CancelledError:
            if self._task is not None:
                self._task.uncancel()  # the call is over in both cases, and `serve` ends it in order
            if self._closing.is_set():
                return None
            raise ConnectionLost("cancelled") from None
        except _GONE as error:
            raise ConnectionLost("reading failed") from error
        finally:
            self._reading = False
        return frame if isinstance(frame, bytes) else None

    async def close(self, reason: str) -> None:
        """The call ends when its handler returns; here a read that waits is ended, so that it does."""
        if not self._closing.is_set():
            self._closing.set()
            if self._reading and self._task is not None and self._task is not asyncio.current_task():
                self._task.cancel()


Serve = Callable[[Connection], Awaitable[None]]


class GrpcServer:
    """Listens on one port, and hands every call to whoever serves its method."""

    def __init__(self, methods: Mapping[str, Serve]) -> None:
        """`methods`: by full name, such as `/package.Service/Method`; each is one bidirectional stream."""
        self._server = aio.server(options=server_options())
        for name, serve in methods.items():
            _, service, method = name.split("/")
            handler = grpc.stream_stream_rpc_method_handler(_behaviour(serve))
            generic = grpc.method_handlers_generic_handler(service, {method: handler})
            self._server.add_generic_rpc_handlers((generic,))

    async def listen(self, host: str, port: int, *, cert: Path, key: Path) -> int:
        """The bound port. Raises RuntimeError when it is taken, OSError when a file cannot be read."""
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
        bound_port = self._server.add_secure_port(_address(host, port), credentials)
        await self._server.start()
        return bound_port

    async def listen_plain(self, host: str, port: int) -> int:
        """As `listen`, without TLS."""
        bound_port = self._server.add_insecure_port(_address(host, port))
        await self._server.start()
        return bound_port

    async def close(self) -> None:
        """Links are over by then; calls that have not returned within a moment are cut."""
        await self._server.stop(grace=_CLOSE_GRACE_S)


def _behaviour(serve: Serve) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
    async def connect(_requests: AsyncIterator[bytes], context: Any) -> None:
        await serve(GrpcConnection(context))

    return connect


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
