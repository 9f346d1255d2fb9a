"""QgaProtocol: commands of a guest's agent, and programs in the guest with their ends.

Owns turns, the timeout, what a silence means, and the waiting for an end; the wire is a Channel's. Called by live.py,
by the agent and by programs of others.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from quarterdeck.machines.errors import (
    AgentSilent,
    ConnectionEnded,
    GuestPaused,
    MachineError,
    NotSupported,
    ProtocolUnavailable,
    StillRunning,
    TimedOut,
)
from quarterdeck.machines.guest import Guest, LibvirtEndpoint, ProtocolType
from quarterdeck.machines.protocol import DEFAULT_TIMEOUT_S
from quarterdeck.machines.qga.cadence import DEFAULT_CEILING_S, DEFAULT_FIRST_S, Cadence
from quarterdeck.machines.qga.channel import Answer, Channel
from quarterdeck.machines.qga.socket_channel import SocketChannel
from quarterdeck.machines.qga.structures import (
    AgentVersion,
    GuestExec,
    GuestExecStatus,
    Request,
    StartedProgram,
)

T = TypeVar("T")

IsRunning = Callable[[], Awaitable[bool]]
"""Whether the guest runs, as QEMU sees it: QMP's query-status."""

SHELL: Final = "/bin/sh"

_READS: Final = ("guest-ping", "guest-info", "guest-get-")
"""Commands that change nothing, by how they begin: these may be asked twice."""

_STATUS_PATIENCE_S: Final = 2.0
"""QEMU answers in less than a millisecond, or stands still as a whole."""


class QgaSettings(msgspec.Struct, frozen=True, kw_only=True):
    timeout_s: float = DEFAULT_TIMEOUT_S
    first_look_s: float = DEFAULT_FIRST_S
    """After a program's start its status is asked for this soon,"""
    slowest_look_s: float = DEFAULT_CEILING_S
    """then ever more slowly, down to this."""
    is_running: IsRunning | None = None


class QgaProtocol:
    """A Protocol. Made by QgaProtocolBuilder.

    A connection that ended is made anew by the next request. A request that was on its way when the connection ended is
    made again only if it changes nothing. One that timed out, or whose caller left, may still be carried out.
    """

    def __init__(self, settings: QgaSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._guest: Guest | None = None
        self._channel: Channel | None = None

    @property
    def guest_name(self) -> str:
        return "?" if self._guest is None else self._guest.name

    # ---- Protocol

    async def connect(self, guest: Guest) -> None:
        """Raises ProtocolUnavailable, ConnectFailed, TimedOut or what it is more precisely, ProtocolViolation."""
        await self.disconnect()
        self._guest = guest
        channel = self._channel_to(guest)
        try:
            async with asyncio.timeout(self._settings.timeout_s), self._turn:
                await self.disconnect()  # two may connect at once, and an agent has one client
                await channel.open()
                self._channel = channel
        except BaseException as error:
            await channel.close()
            if isinstance(error, TimeoutError):
                raise await self._silence("no answer to a sync") from None
            raise

    async def disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def is_connected(self) -> bool:
        return self._channel is not None and self._channel.is_open

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.QGA

    async def send(self, content: bytes) -> None:
        """Raises NotSupported, always: a request without its answer would leave the answer to the next caller."""
        del content
        raise self._error(NotSupported, "QGA answers each request: use execute()")

    async def receive(self) -> bytes:
        """Raises NotSupported, always."""
        raise self._error(NotSupported, "QGA answers each request: use execute(), which returns the answer")

    # ---- Any command

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """What the agent returned, decoded. Raises Refused, and what `burst` raises."""
        return await self.execute_as(command, arguments, object)

    async def execute_as(
        self, command: str, arguments: Mapping[str, object] | msgspec.Struct | None, answer_type: type[T]
    ) -> T:
        """As `execute`, the answer as an `answer_type`. Raises ProtocolViolation too, when it is none."""
        request = Request(command, arguments)
        try:
            answers = await self.burst([request])
        except ConnectionEnded:
            if self._channel is None or not command.startswith(_READS):
                raise
            answers = await self.burst([request])
        return answers[0].value(answer_type)

    async def burst(self, requests: Sequence[Request]) -> list[Answer]:
        """Several requests in one go, answered in order; one that is refused does not keep the others from being made.

        Raises GuestPaused or AgentSilent, TimedOut where nobody can say which; ConnectFailed, ConnectionEnded,
        ProtocolViolation.
        """
        timeout_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                channel = self._channel
                if channel is None:
                    raise self._error(ConnectionEnded, "not connected")
                try:
                    return await channel.exchange(requests, timeout_s)
                finally:
                    if self._channel is not channel:  # somebody disconnected while it was being made anew
                        await channel.close()
        except TimeoutError:
            raise await self._silence(f"no answer to {requests[0].command}") from None

    async def ping(self) -> None:
        """Returns if the agent answers. Raises what `execute` raises."""
        await self.execute("guest-ping")

    async def info(self) -> AgentVersion:
        """Raises what `execute_as` raises."""
        return await self.execute_as("guest-info", None, AgentVersion)

    # ---- Programs

    async def exec(self, program: GuestExec) -> int:
        """Start it; its pid in the guest. Raises Refused when it cannot be started, and what `execute_as` raises."""
        await self.check_running()
        return (await self.execute_as("guest-exec", program, StartedProgram)).pid

    async def exec_status(self, pid: int) -> GuestExecStatus:
        """Raises Refused when the agent knows no such program (any more), and what `execute_as` raises."""
        return await self.execute_as("guest-exec-status", {"pid": pid}, GuestExecStatus)

    async def exec_and_wait(self, program: GuestExec, timeout_s: float | None = None) -> GuestExecStatus:
        """Start it, wait for its end. `timeout_s`: for all of it; None: for ever.

        Raises StillRunning, whose pid may be asked for later; the program goes on. Otherwise what `exec` and
        `exec_status` raise.
        """
        clock = asyncio.get_running_loop().time
        deadline_s = math.inf if timeout_s is None else clock() + timeout_s
        pid = await self.exec(program)
        cadence = self.cadence()
        # Not cut short in the middle of a request: the answer may be the only one that tells the end.
        while not (status := await self.exec_status(pid)).exited:
            left_s = deadline_s - clock()
            if left_s <= 0:
                text = f"{program.path} runs on after {timeout_s:g} s"
                raise StillRunning(pid, text, guest=self.guest_name, protocol=ProtocolType.QGA)
            await asyncio.sleep(min(cadence.next_s(), left_s))
        return status

    async def exec_shell(self, text: str, timeout_s: float | None = None) -> GuestExecStatus:
        """`text` for the guest's /bin/sh, its output kept. Raises what `exec_and_wait` raises."""
        return await self.exec_and_wait(GuestExec.simple(SHELL, ["-c", text]), timeout_s)

    def cadence(self, *, ceiling_s: float = math.inf) -> Cadence:
        """When to look at a program that has just been started. `ceiling_s`: at least that often."""
        first_s, slowest_s = self._settings.first_look_s, self._settings.slowest_look_s
        return Cadence(first_s, max(first_s, min(slowest_s, ceiling_s)))

    async def check_running(self) -> None:
        """Raises GuestPaused: what is asked of a paused guest is done when it goes on, and nobody waits any more."""
        if await self._runs() is False:
            raise self._error(GuestPaused, "the guest is paused")

    # ---- Channel and errors

    def _channel_to(self, guest: Guest) -> Channel:
        endpoint = guest.endpoints.get(ProtocolType.QGA)
        if endpoint is None:
            raise self._error(ProtocolUnavailable, "no channel to an agent is known")
        if isinstance(endpoint, LibvirtEndpoint):
            from quarterdeck.machines.qga.libvirt_channel import LibvirtChannel

            return LibvirtChannel(guest.name, endpoint)
        return SocketChannel(guest.name, endpoint)

    async def _silence(self, what: str) -> MachineError:
        text = f"{what} in {self._settings.timeout_s:g} s"
        match await self._runs():
            case True:
                return self._error(AgentSilent, text)
            case False:
                return self._error(GuestPaused, f"{text}: the guest is paused")
            case None:
                return self._error(TimedOut, text)

    async def _runs(self) -> bool | None:
        """None: nobody can say."""
        if self._settings.is_running is None:
            return None
        try:
            async with asyncio.timeout(_STATUS_PATIENCE_S):
                return await self._settings.is_running()
        except (MachineError, TimeoutError):
            return None

    def _error(self, error_type: type[MachineError], message: str) -> MachineError:
        return error_type(message, guest=self.guest_name, protocol=ProtocolType.QGA)


class QgaProtocolBuilder:
    """A ProtocolBuilder."""

    def __init__(self, settings: QgaSettings | None = None) -> None:
        self._settings = settings or QgaSettings()

    def with_timeout(self, timeout_s: float) -> "QgaProtocolBuilder":
        """For a connect, and for a request with all that is done about it; not for a program in the guest."""
        return self._with(timeout_s=timeout_s)

    def with_polling(
        self, *, first_s: float = DEFAULT_FIRST_S, ceiling_s: float = DEFAULT_CEILING_S
    ) -> "QgaProtocolBuilder":
        """How soon after its start a program is asked whether it has ended, and how seldom at the most."""
        return self._with(first_look_s=first_s, slowest_look_s=ceiling_s)

    def with_status(self, is_running: IsRunning) -> "QgaProtocolBuilder":
        """With it a paused guest is told from a silent agent. A MachineError of it means: nobody can say."""
        return self._with(is_running=is_running)

    def build(self) -> QgaProtocol:
        return QgaProtocol(self._settings)

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.QGA

    def _with(self, **changes: Any) -> "QgaProtocolBuilder":
        return QgaProtocolBuilder(msgspec.structs.replace(self._settings, **changes))
