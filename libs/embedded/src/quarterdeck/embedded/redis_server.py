"""A real Redis (or Valkey) server as a child process.

Owns its command line, the choice of a free port or a Unix socket, readiness and restart in the same place.
Speaks to it only the inline command INFO; clients live in quarterdeck.core.store.
Called by the supervisor and by the fixtures of quarterdeck.testing.
"""

import asyncio
import socket
from pathlib import Path

import msgspec

from quarterdeck.embedded.children import Child, ChildSettings
from quarterdeck.embedded.server_errors import ServerStartFailed
from quarterdeck.embedded.server_process import ServerProcess

_POLL_S = 0.005
"""A start takes about 65 ms."""

_PORT_ATTEMPTS = 5
"""Redis cannot choose a port itself: between our choice and its bind somebody else may take it."""


class RedisServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how the server runs. Exactly one of `port` and `unix_socket` says where it listens."""

    binary: Path
    server_dir: Path
    """Holds redis.log and, in `appendonly.aof`, the state."""
    port: int | None = None
    """TCP port on 127.0.0.1; 0 chooses a free one, and a restart keeps the choice."""
    unix_socket: Path | None = None
    """Path of at most 107 bytes. Source: unix(7)."""
    append_only: bool = True
    """Keep an append-only file, fsynced every second; off for tests that never restart it."""
    ready_timeout_s: float = 30.0
    """Covers loading a large append-only file."""

    def __post_init__(self) -> None:
        """Raises ValueError when both or neither of port and unix_socket are given."""
        if (self.port is None) == (self.unix_socket is None):
            raise ValueError("give exactly one of port and unix_socket")


class RedisServer(ServerProcess):
    """Redis or Valkey, whatever the binary is; see ServerProcess for its life."""

    def __init__(self, settings: RedisServerSettings) -> None:
        super().__init__()
        self.settings = settings
        self._port = settings.port

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:port/0` or `unix:///path`; the port is known after the first start."""
        if self.settings.unix_socket is not None:
            return f"unix://{self.settings.unix_socket}"
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Starts the server and waits until it answers. Raises ServerStartFailed."""
        self.settings.server_dir.mkdir(parents=True, exist_ok=True)
        if self._port != 0:
            await self._start_once(self._port)
            return
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = _free_port()
            try:
                await self._start_once(port)
            except ServerStartFailed as failed:
                if attempt == _PORT_ATTEMPTS or "already in use" not in failed.log_tail:
                    raise
                continue
            self._port = port
            return

    async def _start_once(self, port: int | None) -> None:
        self._child = Child.spawn(
            ChildSettings(
                name="redis",
                argv=(str(self.settings.binary), *self._options(port)),
                cwd=self.settings.server_dir,
                log_path=self.settings.server_dir / "redis.log",
            )
        )
        try:
            async with asyncio.timeout(self.settings.ready_timeout_s):
                while not await self._answers(self._child, port):
                    if self._child.exit_code is not None:
                        raise self._start_failed(self.settings.binary.name, self._child.exit_code)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await self._child.kill()
            raise self._start_failed(self.settings.binary.name, None) from None

    def _options(self, port: int | None) -> tuple[str, ...]:
        options = {
            "--dir": str(self.settings.server_dir),
            "--port": str(port or 0),  # 0 turns TCP off
            "--bind": "127.0.0.1",
            "--save": "",  # the append-only file is the state; a snapshot would only cost
            "--appendonly": "yes" if self.settings.append_only else "no",
            "--appendfsync": "everysec",
            "--maxmemory-policy": "noeviction",
        }
        if self.settings.unix_socket is not None:
            options |= {"--unixsocket": str(self.settings.unix_socket), "--unixsocketperm": "700"}
        return tuple(word for pair in options.items() for word in pair)

    async def _answers(self, child: Child, port: int | None) -> bool:
        """Whether our own process answers, and not another one that won the port.

        While the append-only file is loading, INFO works already and PING answers `-LOADING`.
        """
        try:
            if self.settings.unix_socket is not None:
                reader, writer = await asyncio.open_unix_connection(str(self.settings.unix_socket))
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (ConnectionError, FileNotFoundError):
            return False
        try:
            writer.write(b"INFO server\r\nPING\r\nQUIT\r\n")
            answer = await reader.read()
        except ConnectionError:
            return False
        finally:
            writer.close()
        return f"\r\nprocess_id:{child.pid}\r\n".encode() in answer and b"+PONG" in answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
