"""Guests as the executor sees them: a GuestPort. Made by service.py, where an agent was told to look for guests.

Owns the parts and their life. Which guests there are is the directory's business, how a command for one of them runs is
execution.py's and calls.py's.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from quarterdeck.agent.executor.outcome import Run
from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.agent.executor.run_spec import RunSpec
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.agent.guests.calls import GuestCaller
from quarterdeck.agent.guests.connections import Connections
from quarterdeck.agent.guests.directory import GuestDirectory
from quarterdeck.agent.guests.execution import ExecutionTools, GuestRun
from quarterdeck.agent.guests.plans import GuestCall, GuestExecution
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.agent.guests.sharing import NotReached
from quarterdeck.agent.guests.tidying import Tidying
from quarterdeck.agent.handlers import CommandExecutor
from quarterdeck.contracts.guests import GUEST_COMMAND_TYPES, guest_protocol
from quarterdeck.core.clock import Clock
from quarterdeck.machines.errors import MachineError
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.qga import LiveExec, LiveExecSpec

log = structlog.get_logger()

_LEFTOVER_GRACE_S: Final = 5.0
"""Between SIGTERM and SIGKILL, for a command whose own grace is not known any more."""
_LEFTOVER_PATIENCE_S: Final = 15.0
_LEFTOVER_PAUSE_S: Final = 0.5
"""The guest's agent may still be busy with the connection of the executor that died."""
_BEHIND_QMP: Final = (ProtocolType.QGA, ProtocolType.VIRTIO_SERIAL)
"""Whose sockets QEMU itself can name."""


class Guests:
    """Make it inside a running loop."""

    command_types = GUEST_COMMAND_TYPES

    def __init__(self, settings: GuestSettings, outlet: Outlet, clock: Clock) -> None:
        """Raises BadAgentSettings."""
        self._directory = GuestDirectory(settings)
        self._connections = Connections(settings)
        self._tools = ExecutionTools(self._connections, outlet, clock, Tidying(self._connections))
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self._directory.names

    async def start(self, on_change: Callable[[], None]) -> None:
        """Raises BadAgentSettings."""
        await self._directory.look()
        self._looking = asyncio.create_task(self._directory.run(on_change), name="guests.directory")

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._tools.tidying.finish()
        await self._connections.close()

    def refusal(self, guest: str, command_type: str) -> str | None:
        found = self._directory.find(guest)
        if found is None:
            return f"no guest {guest} here"
        protocol = ProtocolType(guest_protocol(command_type))
        if not _reachable(found, protocol):
            return f"no way to guest {guest} by {protocol}"
        return None

    def run(self, plan: GuestExecution, spec: RunSpec, output: CommandOutput) -> Run:
        return GuestRun(plan, spec, self._directory.find(plan.guest), output, self._tools)

    def caller(self, call: GuestCall) -> CommandExecutor:
        return GuestCaller(call, self._directory.find(call.guest), self._connections)

    async def end_leftover(self, guest: str, marker: str) -> bool:
        found = self._directory.find(guest)
        if found is None:
            return False
        gives_up_at_s = self._clock.monotonic_s() + _LEFTOVER_PATIENCE_S
        while True:
            try:
                async with self._connections.programs(found) as scratch:
                    live = LiveExec(scratch, LiveExecSpec(marker=marker))
                    return await live.stop(_LEFTOVER_GRACE_S)
            except (MachineError, NotReached) as error:
                if self._clock.monotonic_s() >= gives_up_at_s:
                    log.warning("guests.leftover_not_ended", guest=guest, command=marker, cause=str(error))
                    return False
            await asyncio.sleep(_LEFTOVER_PAUSE_S)


def _reachable(guest: Guest, protocol: ProtocolType) -> bool:
    if protocol in guest.endpoints or (protocol is ProtocolType.VIRTIO_SERIAL and guest.channels):
        return True
    return protocol in _BEHIND_QMP and ProtocolType.QMP in guest.endpoints
