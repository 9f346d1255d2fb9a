"""What the embedded nats-server and Redis have in common: one process at a time, stopped, killed, paused, restarted.

Owns no start: that is what the two differ in. Base of `nats_server` and `redis_server`.
"""

import signal
from abc import ABC, abstractmethod

from quarterdeck.embedded.children import Child
from quarterdeck.embedded.server_errors import ServerStartFailed


class ServerProcess(ABC):
    """A server, from start to stop; may be started again after either end, on the same port and directory."""

    def __init__(self) -> None:
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect; a port that the system chose is known after the first start."""

    @abstractmethod
    async def start(self) -> None:
        """Starts the server and waits until it serves clients. Raises ServerStartFailed."""

    @property
    def child(self) -> Child:
        """The process of the last start. Raises RuntimeError before the first one."""
        if self._child is None:
            raise RuntimeError("the server was not started yet")
        return self._child

    @property
    def pid(self) -> int:
        """Process id of the last start. Raises RuntimeError before the first one."""
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether the process runs; says nothing of readiness."""
        return self._child is not None and self._child.running

    async def stop(self) -> None:
        """SIGTERM: the server closes its clients and flushes what it holds."""
        if self._child is not None:
            await self._child.stop()

    async def kill(self) -> None:
        """SIGKILL, as an outage would."""
        if self._child is not None:
            await self._child.kill()

    async def restart(self) -> None:
        """Stops it if it runs, and starts it in the same place."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        self.child.send_signal(signal.SIGCONT)

    def _start_failed(self, program: str, exit_code: int | None) -> ServerStartFailed:
        return ServerStartFailed(program, exit_code, self.child.settings.log_path, self.child.log_tail())
