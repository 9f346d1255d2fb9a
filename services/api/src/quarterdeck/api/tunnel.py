"""WebSockets through this port to the broadcaster, where no ingress routes them (one-port set-ups).

Owns two connections and the bytes between them, in both directions, at the pace of the slower side; reads neither
frames nor tokens. The broadcaster answers the handshake, and so decides all: no other service has WebSockets. Built by
uvicorn for each connection that asks for an upgrade.
"""

import asyncio
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import structlog

from quarterdeck.api.forward import CONNECT_TIMEOUT_S
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.web.problems import MEDIA_TYPE, problem_of

log = structlog.get_logger()

_MAX_EARLY_BYTES: Final = 64 * 1024
"""What a client may send before the broadcaster is reached: no client that waits for its handshake sends more."""

_LAST_WORDS_S: Final = 10.0
"""How long a client may take to read what the broadcaster said last. One that reads nothing would stay for ever."""


class Tunnel(asyncio.Protocol):
    """The client's end. uvicorn hands over the request's head as the first bytes."""

    def __init__(self, url: str, *, server_state: Any, **_of_uvicorn: Any) -> None:
        self._url = urlsplit(url)
        self._connections: set[Any] = server_state.connections
        self._client: asyncio.Transport | None = None
        self._upstream: asyncio.Transport | None = None
        self._early = bytearray()
        self._reaching: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._reaching = asyncio.create_task(self._reach(), name="tunnel")

    def data_received(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.write(data)
        elif len(self._early) + len(data) <= _MAX_EARLY_BYTES:
            self._early += data
        elif self._client is not None:
            self._client.abort()

    def pause_writing(self) -> None:
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_writing(self) -> None:
        if self._upstream is not None and not self._upstream.is_closing():
            self._upstream.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._reaching is not None:
            self._reaching.cancel()
        if self._upstream is not None:
            self._upstream.abort()

    def shutdown(self) -> None:
        """Called by uvicorn when the service stops. The client sees a lost connection, and comes back."""
        if self._client is not None:
            self._client.close()

    async def _reach(self) -> None:
        assert self._client is not None
        far = _FarEnd(self._client)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport = await _connect(self._url, far)
        except (OSError, TimeoutError) as error:
            log.warning("api.broadcaster_unreachable", error=str(error))
            self._client.write(_refusal())
            self._client.close()
            return
        transport.write(bytes(self._early))
        self._early.clear()
        self._upstream = transport


class _FarEnd(asyncio.Protocol):
    """The broadcaster's end. A client that is slow, or gone, slows down or ends what it says."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        if not self._client.is_closing():
            self._client.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._client.abort)


async def _connect(url: SplitResult, far: _FarEnd) -> asyncio.Transport:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    if url.scheme == "unix":
        transport, _ = await loop.create_unix_connection(lambda: far, url.path)
    else:
        transport, _ = await loop.create_connection(lambda: far, url.hostname or "", url.port or 80)
    return transport


def _refusal() -> bytes:
    """503 in place of the handshake's answer. Source: RFC 9112 §4."""
    problem = problem_of(Unavailable("the broadcaster does not answer"))
    head = (
        f"HTTP/1.1 {problem.status} Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(problem.body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + problem.body
