"""A real nats-server with JetStream as a child process.

Owns its configuration file, the race-free choice of a port, readiness and restart on the same port and store.
Speaks to it only the first line of the NATS protocol; clients live in quarterdeck.core.bus.
Called by the supervisor and by the fixtures of quarterdeck.testing.
"""

import asyncio
import json
from pathlib import Path

import msgspec

from quarterdeck.embedded.children import Child, ChildSettings
from quarterdeck.embedded.server_process import ServerProcess

_POLL_S = 0.005
"""A start takes about 35 ms; the ports file appears late in it."""
_FILE_STORE_BYTES = 2**50
"""Streams bring limits of their own. Without this, nats-server refuses them when three quarters of what is free on the
disk at its start are less than the sum of those limits, however little they hold."""


class NatsServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how nats-server runs."""

    binary: Path
    server_dir: Path
    """Holds nats.conf, nats.log, the ports file and, in `jetstream/`, everything that must survive."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 lets the server choose; a restart keeps the choice."""
    sync_interval: str | None = None
    """JetStream's fsync period: `always`, or a duration such as `10s`. None is the server's 2 minutes."""
    max_payload_bytes: int = 1_048_576
    """Largest message. Source: nats-server's default."""
    memory_limit_bytes: int = 768 * 1024 * 1024
    """Where Go's collector works as hard as it may. Soft, and only a stream of output comes near: what was written in
    the last ten seconds or so stays cached, and below the size of that, collecting is most of what the server does.
    Measured at 30 to 50 MB/s: 24 s of CPU per GB at 256 MiB, 14 at 512, 9 at 768 and without a limit."""
    garbage_percent: int = 25
    """How much garbage Go lets gather, of what lives. Nearly all that lives are plain bytes, which cost the collector
    nothing to look at: a quarter of Go's default halves the memory at the same CPU time (measured)."""
    ready_timeout_s: float = 30.0
    """Covers the recovery of large streams after a crash."""


class NatsServer(ServerProcess):
    """nats-server with JetStream on; see ServerProcess for its life."""

    def __init__(self, settings: NatsServerSettings) -> None:
        super().__init__()
        self.settings = settings
        self._port = settings.port

    @property
    def url(self) -> str:
        """`nats://host:port`; known after the first start."""
        return f"nats://{self.settings.host}:{self._port}"

    @property
    def port(self) -> int:
        """The TCP port; known after the first start."""
        return self._port

    async def start(self) -> None:
        """Starts the server and waits until it takes clients. Raises ServerStartFailed."""
        directory = self.settings.server_dir
        directory.mkdir(parents=True, exist_ok=True)
        config_path = directory / "nats.conf"
        config_path.write_text(self._config(), encoding="utf-8")
        self._child = Child.spawn(
            ChildSettings(
                name="nats",
                argv=(str(self.settings.binary), "--config", str(config_path)),
                cwd=directory,
                log_path=directory / "nats.log",
                # All that it needs: its configuration is in the file.
                env={
                    "GOMEMLIMIT": f"{self.settings.memory_limit_bytes}B",
                    "GOGC": str(self.settings.garbage_percent),
                },
            )
        )
        try:
            async with asyncio.timeout(self.settings.ready_timeout_s):
                self._port = await self._published_port(self._child)
                await self._first_line(self._child)
        except TimeoutError:
            await self._child.kill()
            raise self._start_failed("nats-server", None) from None

    def _config(self) -> str:
        settings = self.settings
        # JSON strings are valid in nats-server's configuration language and quote paths safely.
        jetstream = [
            f"store_dir: {json.dumps(str(settings.server_dir / 'jetstream'))}",
            f"max_file_store: {_FILE_STORE_BYTES}",
        ]
        if settings.sync_interval is not None:
            jetstream.append(f"sync_interval: {json.dumps(settings.sync_interval)}")
        return "\n".join(
            (
                f"host: {json.dumps(settings.host)}",
                f"port: {self._port or -1}",
                f"ports_file_dir: {json.dumps(str(settings.server_dir))}",
                f"max_payload: {settings.max_payload_bytes}",
                "jetstream {",
                *(f"  {line}" for line in jetstream),
                "}",
                "",
            )
        )

    async def _published_port(self, child: Child) -> int:
        """Reads the port from the file that the server writes once it listens."""
        ports_path = self.settings.server_dir / f"nats-server_{child.pid}.ports"
        while True:
            if child.exit_code is not None:
                raise self._start_failed("nats-server", child.exit_code)
            try:
                urls = json.loads(ports_path.read_bytes())["nats"]
            except (FileNotFoundError, json.JSONDecodeError):  # not there yet, or half written
                await asyncio.sleep(_POLL_S)
                continue
            return int(urls[0].rpartition(":")[2])

    async def _first_line(self, child: Child) -> None:
        """Waits for the INFO line that greets every client."""
        while True:
            if child.exit_code is not None:
                raise self._start_failed("nats-server", child.exit_code)
            try:
                reader, writer = await asyncio.open_connection(self.settings.host, self._port)
            except ConnectionError:
                await asyncio.sleep(_POLL_S)
                continue
            try:
                if (await reader.readline()).startswith(b"INFO "):
                    return
            finally:
                writer.close()
