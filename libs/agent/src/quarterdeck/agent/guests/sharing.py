"""One connection per guest and protocol, for all commands: QEMU's sockets let in one client at a time.

Owns when one is opened (when it is first needed), closed (when nobody has used it for a while) and opened anew. What
it leads to, and how the way there is found, is connections.py's, the only caller.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import structlog

from quarterdeck.machines.errors import ConnectionEnded, MachineError
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.protocol import Protocol

if TYPE_CHECKING:
    from quarterdeck.machines.qga import Scratch

log = structlog.get_logger()

P = TypeVar("P", bound=Protocol)

_Key = tuple[str, ProtocolType, str]
"""Guest, protocol, channel."""
_NO_CHANNEL: Final = ""
_AGAIN_S: Final = 0.2
_FAREWELL_S: Final = 2.0
"""For removing our directory in a guest that we leave."""


class NotReached(Exception):
    """There is no connection: nothing was said to the guest. `cause`: why."""

    def __init__(self, cause: MachineError) -> None:
        super().__init__(cause.message)
        self.cause = cause


async def _as_it_is(guest: Guest) -> Guest:
    return guest


class Shared(Generic[P]):
    """One connection, and who uses it."""

    def __init__(self, protocol: P, channel: str) -> None:
        self.protocol = protocol
        self.channel = channel
        self.guest: Guest | None = None
        """As it was asked for when the connection was made."""
        self.opening = asyncio.Lock()
        self.failed_opens = 0
        self.last_failure: tuple[Guest, NotReached] | None = None
        self.turn = asyncio.Lock()
        """For protocols whose answers name no question."""
        self.scratch: Scratch | None = None
        """Of QGA."""
        self.users = 0
        self.idle_timer: asyncio.TimerHandle | None = None


class SharedConnections:
    """Make it inside a running loop."""

    def __init__(self, idle_s: float) -> None:
        """`idle_s`: a connection without a user is closed after so long."""
        self._idle_s = idle_s
        self._shared: dict[_Key, Shared[Protocol]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(
        self,
        guest: Guest,
        protocol_type: ProtocolType,
        build: Callable[[], P],
        *,
        channel: str = _NO_CHANNEL,
        locate: Callable[[Guest], Awaitable[Guest]] = _as_it_is,
    ) -> AsyncIterator[Shared[P]]:
        """Connected while the context lasts, as far as we know. Raises NotReached, also when `locate` does.

        `locate`: asked when a connection is made, and only then; gives the guest with the address it is to be made to.
        """
        key = (guest.name, protocol_type, channel)
        if key not in self._shared:
            self._shared[key] = cast(Shared[Protocol], Shared(build(), channel))
        shared = self._shared[key]
        shared.users += 1
        if shared.idle_timer is not None:
            shared.idle_timer.cancel()
            shared.idle_timer = None
        try:
            await _connect(shared, guest, locate)
            yield cast(Shared[P], shared)
        finally:
            shared.users -= 1
            if not shared.users:
                loop = asyncio.get_running_loop()
                shared.idle_timer = loop.call_later(self._idle_s, self._close_idle, key)

    async def has(self, guest: Guest, protocol_type: ProtocolType, channel: str = _NO_CHANNEL) -> bool:
        """There is a connection already."""
        shared = self._shared.get((guest.name, protocol_type, channel))
        return shared is not None and await shared.protocol.is_connected()

    async def close(self) -> None:
        """All of them."""
        for of_qga in (True, False):  # whoever leaves a guest's agent asks QMP once more
            for key in [key for key in self._shared if (key[1] is ProtocolType.QGA) is of_qga]:
                self._close_idle(key)
            await asyncio.gather(*self._closing)

    def _close_idle(self, key: _Key) -> None:
        shared = self._shared.pop(key)
        if shared.idle_timer is not None:
            shared.idle_timer.cancel()
        task = asyncio.create_task(_leave(shared), name="guests.disconnect")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _connect(
    shared: Shared[Protocol], guest: Guest, locate: Callable[[Guest], Awaitable[Guest]]
) -> None:
    failed_before = shared.failed_opens
    async with shared.opening:
        if _is_same_way(shared, guest) and await shared.protocol.is_connected():
            return
        # Whoever waited for an attempt of somebody else has waited for its own: in turn, the times would add up.
        if shared.failed_opens > failed_before and shared.last_failure is not None:
            whose, failure = shared.last_failure
            if whose == guest:
                raise NotReached(failure.cause) from failure
        try:
            await _open(shared, await locate(guest))
        except NotReached as failure:
            shared.failed_opens += 1
            shared.last_failure = guest, failure
            raise
        shared.guest, shared.last_failure = guest, None
        log.debug("guests.connected", guest=guest.name, protocol=shared.protocol.protocol_type())


def _is_same_way(shared: Shared[Protocol], guest: Guest) -> bool:
    """Whether the connection leads where one for `guest` would, whatever else of the guest came or went meanwhile."""
    return shared.guest is not None and _way(shared, shared.guest) == _way(shared, guest)


def _way(shared: Shared[Protocol], guest: Guest) -> tuple[object, ...]:
    own = guest.endpoints.get(shared.protocol.protocol_type())
    return (
        own,
        guest.endpoints.get(ProtocolType.QMP),
        guest.channels.get(shared.channel),
        guest.spice_password,
    )


async def _open(shared: Shared[Protocol], located: Guest) -> None:
    try:
        try:
            await shared.protocol.connect(located)
        except ConnectionEnded:  # the other side may just have been letting go of somebody before us
            await asyncio.sleep(_AGAIN_S)
            await shared.protocol.connect(located)
    except MachineError as error:
        raise NotReached(error) from error


async def _leave(shared: Shared[Protocol]) -> None:
    if shared.scratch is not None and await shared.protocol.is_connected():
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await shared.scratch.remove()
        except (MachineError, TimeoutError):
            pass  # it stays in the guest, empty
    await shared.protocol.disconnect()
