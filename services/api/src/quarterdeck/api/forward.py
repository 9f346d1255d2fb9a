"""Watch paths through this port to the broadcaster, where no ingress routes them (one-port set-ups).

Owns the relaying of one GET: head, then every piece of the body as it comes, no buffering beyond one read. The
broadcaster authenticates; nothing is decided here. A watcher that leaves takes its upstream connection with it.
WebSockets take tunnel.py.
"""

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

import httptools
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.web.gate import send_problem
from quarterdeck.web.leaving import while_connected
from quarterdeck.web.problems import problem_of
from quarterdeck.web.stalling import ClientStalled, send_within
from quarterdeck.web.watch import WATCH_PATHS

log = structlog.get_logger()

_READ_BYTES: Final = 256 * 1024
CONNECT_TIMEOUT_S: Final = 5.0
_PASSED_ON: Final = frozenset(
    {b"accept", b"authorization", b"cookie", b"last-event-id", b"origin", b"traceparent"}
)
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date"}
)


class Forward:
    """ASGI layer: watch paths go to `broadcaster_url`, everything else to `application`."""

    def __init__(self, application: ASGIApp, broadcaster_url: str) -> None:
        self._application = application
        self._url = urlsplit(broadcaster_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not WATCH_PATHS.fullmatch(scope["path"]):
            return await self._application(scope, receive, send)
        try:
            reader, writer = await self._connect()
        except (OSError, TimeoutError) as error:
            log.warning("api.broadcaster_unreachable", error=str(error))
            problem = problem_of(Unavailable("the broadcaster does not answer"))
            return await send_problem(problem, send)
        try:
            await while_connected(receive, _relay(scope, reader, writer, send))
        except ClientStalled:
            log.info("api.watcher_cut", path=scope["path"])
        finally:
            writer.transport.abort()
        return None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises OSError, TimeoutError."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if self._url.scheme == "unix":
                return await asyncio.open_unix_connection(self._url.path, limit=_READ_BYTES)
            return await asyncio.open_connection(self._url.hostname, self._url.port or 80, limit=_READ_BYTES)


class _Head:
    """What httptools tells of the upstream's answer; body pieces wait in `pieces` until they are sent on."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.ended = False
        self.pieces: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _HOP_BY_HOP:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.ended = True


async def _relay(
    scope: Scope, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, send: Send
) -> None:
    """Raises ConnectionError when the upstream ends in the middle: our client must not take that for an end."""
    writer.write(_request(scope))
    head = _Head()
    parser = httptools.HttpResponseParser(head)
    started = False
    while not head.ended:
        received = await reader.read(_READ_BYTES)
        if not received:
            raise ConnectionError("the broadcaster closed in the middle of an answer")
        parser.feed_data(received)
        if head.complete and not started:
            started = True
            await send(
                {"type": "http.response.start", "status": parser.get_status_code(), "headers": head.headers}
            )
        if head.pieces:
            body = b"".join(head.pieces)
            head.pieces.clear()
            await send_within(scope, send, {"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _request(scope: Any) -> bytes:
    """The same request, without what concerns only our own connection. Source: RFC 9112 §3."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    target = path + (b"?" + query if query else b"")
    lines = [
        b"%b %b HTTP/1.1" % (scope["method"].encode("latin-1"), target),
        b"host: broadcaster",
        b"connection: close",
        *(b"%b: %b" % (name, value) for name, value in scope["headers"] if name in _PASSED_ON),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"
