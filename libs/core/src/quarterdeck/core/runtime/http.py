"""The little HTTP server beside every service: health and metrics, GET only, one request per connection.

Owns the socket. Too small for a framework, and it must answer when everything else is busy. The api and broadcaster
services answer the same paths on their own port from `Health` and `render_metrics`.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec

from quarterdeck.core.metrics import CONTENT_TYPE, render_metrics
from quarterdeck.core.runtime.health import Health

LIVE_PATH: Final = "/health/live"
READY_PATH: Final = "/health/ready"
METRICS_PATH: Final = "/metrics"

_MAX_HEAD_BYTES: Final = 8 * 1024
_HEAD_TIMEOUT_S: Final = 5.0
_JSON: Final = "application/json"

Response = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""


class HealthServer:
    """Serves until `close`."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._server: asyncio.Server | None = None
        self.port = 0
        """The bound port, after `start`."""

    async def start(self, host: str, port: int, port_file: Path | None = None) -> None:
        """Bind `host:port`; 0 binds a free port, which is written to `port_file` when given. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_MAX_HEAD_BYTES)
        self.port = int(self._server.sockets[0].getsockname()[1])
        if port_file is not None:
            port_file.write_text(f"{self.port}\n", encoding="utf-8")

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def respond(self, method: str, path: str) -> Response:
        """The answer to a request; pure."""
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _JSON, b"{}"
        if path == LIVE_PATH:
            return HTTPStatus.OK, _JSON, b'{"live":true}'
        if path == READY_PATH:
            snapshot = self._health.snapshot()
            status = HTTPStatus.OK if snapshot.ready else HTTPStatus.SERVICE_UNAVAILABLE
            return status, _JSON, msgspec.json.encode(snapshot)
        if path == METRICS_PATH:
            return HTTPStatus.OK, CONTENT_TYPE, render_metrics()
        return HTTPStatus.NOT_FOUND, _JSON, b"{}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _version = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
                status, content_type, body = self.respond(method, target.partition("?")[0])
                writer.write(_encode(status, content_type, body, with_body=method != "HEAD"))
                await writer.drain()
        except (TimeoutError, ValueError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Not HTTP, too slow or gone: nothing to answer to.
            pass
        finally:
            writer.close()


def _encode(status: HTTPStatus, content_type: str, body: bytes, *, with_body: bool) -> bytes:
    """Source: RFC 9112 §4."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
