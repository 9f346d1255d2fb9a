"""uvicorn inside a service's life: we own signals, the socket and the end; uvicorn owns HTTP.

Started and stopped by the two HTTP services. An open event stream would hold uvicorn's shutdown for ever, so whoever
owns streams ends them before calling `stop`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from quarterdeck.core.allocator import give_back_large_blocks

ABORT: Final = "quarterdeck.abort"
"""ASGI extension: `scope["extensions"][ABORT]()` drops the connection at once, whatever is still unsent."""

SocketProtocolFactory = Callable[..., asyncio.Protocol]
"""Called by uvicorn with `config`, `server_state` and `app_state`, all by name."""

MAX_SOCKET_MESSAGE_BYTES: Final = 1024 * 1024
"""A client's larger WebSocket message is not read whole: the connection ends with 1009."""

_BACKLOG: Final = 2048
_KEEP_ALIVE_S: Final = 75
_TICK_S: Final = 0.01


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 0
    """0: a free one."""
    port_file: Path | None = None
    """Where the bound port is written, for whoever gave 0."""
    unix_socket: Path | None = None
    """Listen here instead of on host and port."""
    drain_s: float = 10.0
    """How long requests under way may take to finish at the end."""


class HttpServer:
    """One ASGI application on one socket, from `start` to `stop`."""

    def __init__(
        self, application: Any, settings: HttpSettings, *, sockets: SocketProtocolFactory | None = None
    ) -> None:
        """`sockets`: what takes over a connection that asks for a WebSocket; None: such requests stay plain ones."""
        self._settings = settings
        self._socket = _bind(settings)
        config = uvicorn.Config(
            application,
            http=_Protocol,
            loop="none",
            ws=cast(Any, sockets) or "none",
            ws_max_size=MAX_SOCKET_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # costs more than loopback and local networks gain
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The bound port; 0 on a Unix socket."""
        return 0 if self._settings.unix_socket else int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Returns when connections are accepted. Raises what uvicorn raises."""
        give_back_large_blocks()
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http-server")
        while not self._server.started:
            if self._serving.done():
                return await self._serving
            await asyncio.sleep(_TICK_S)
        if self._settings.port_file is not None:
            self._settings.port_file.write_text(f"{self.port}\n", encoding="utf-8")
        return None

    async def stop(self) -> None:
        """Takes no more connections, lets requests finish, closes. Returns after `drain_s` at the latest."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.should_exit = True
        await asyncio.wait([self._serving])
        if self._settings.unix_socket is not None:
            self._settings.unix_socket.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the runtime's."""
        yield


class _Protocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        abort: Callable[[], None] = self.transport.abort
        self.scope["extensions"] = {ABORT: abort}  # type: ignore[dict-item]


def _bind(settings: HttpSettings) -> socket.socket:
    """Raises OSError."""
    if settings.unix_socket is not None:
        settings.unix_socket.unlink(missing_ok=True)  # of a process that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(settings.unix_socket))
        settings.unix_socket.chmod(0o600)
    else:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    listener.setblocking(False)
    return listener
