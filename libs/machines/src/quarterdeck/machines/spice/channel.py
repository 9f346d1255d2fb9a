"""One linked channel: takes whatever the server sends, answers where that is due, and sends what it is given."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Self, TypeVar

from quarterdeck.machines.errors import ConnectionEnded, MachineError, ProtocolViolation
from quarterdeck.machines.guest import Guest
from quarterdeck.machines.spice import messages
from quarterdeck.machines.spice.duties import Duties
from quarterdeck.machines.spice.link import link
from quarterdeck.machines.spice.messages import (
    ChannelType,
    FromServer,
    MalformedMessage,
    Message,
    MessageReader,
)
from quarterdeck.machines.spice.stream import SpiceStream

GOODBYE_S: Final = 1.0
"""How long a server may take to hang up, once we have said goodbye."""

_T = TypeVar("_T")


class Channel:
    """First read by `until`, for what opening it takes; then by a task of its own, until it is closed."""

    def __init__(self, stream: SpiceStream) -> None:
        """`stream`: linked."""
        self._stream = stream
        self._reader = MessageReader()
        self._duties = Duties()
        self._unread: deque[Message] = deque()
        """Of the last piece that came."""
        self._attending: asyncio.Task[None] | None = None
        self._end: MachineError | None = None

    @classmethod
    async def open(cls, guest: Guest, channel_type: ChannelType, password: str, session_id: int = 0) -> Self:
        """Connects and links. Raises what SpiceStream.open and link raise."""
        stream = await SpiceStream.open(guest)
        try:
            await link(stream, channel_type, password, session_id)
        except BaseException:
            await stream.close()
            raise
        return cls(stream)

    @property
    def is_open(self) -> bool:
        """Nothing is known to have ended it."""
        return self._end is None

    async def until(self, number: FromServer, reading: Callable[[bytes], _T]) -> _T:
        """The next message of this number, as `reading` makes it of its body. Only before `attend`.

        Raises ConnectionEnded, ProtocolViolation.
        """
        while (message := await self._next()).number != number:
            pass
        try:
            return reading(message.body)
        except MalformedMessage as error:
            raise self._stream.fault(ProtocolViolation, error.message) from error

    def attend(self) -> None:
        """From now on, messages are answered in the background; `drain` tells when that ended."""
        self._attending = asyncio.create_task(self._attend())

    def write(self, message: bytes) -> None:
        """One that messages.py made. Never raises and never waits: `drain` tells whether the server takes it."""
        self._stream.write(message)

    async def drain(self) -> None:
        """Waits until the server took nearly all that was written. Raises ConnectionEnded, ProtocolViolation."""
        if self._end is None:
            await self._stream.drain()
        if self._end is not None:
            raise self._end

    def give_up(self, why: str) -> None:
        """Closes at once; from now on `drain` raises ConnectionEnded, unless the channel ended already."""
        self._end = self._end or self._stream.fault(ConnectionEnded, why)
        self._stream.abort()

    async def leave(self) -> None:
        """Says goodbye, waits shortly for the server to hang up, and closes. Never raises. Only after `attend`.

        A server that hung up has taken all that was sent before.
        """
        try:
            if self._attending is not None and self._end is None:
                self._stream.write(messages.disconnecting())
                self._stream.finish()
                await asyncio.wait([self._attending], timeout=GOODBYE_S)
        finally:
            await self.close()

    async def close(self) -> None:
        """Gives up, and returns when nothing of the channel is left. Never raises."""
        self.give_up("not connected")
        if self._attending is not None:
            self._attending.cancel()
            await asyncio.wait([self._attending])
        await self._stream.close()

    async def _attend(self) -> None:
        try:
            while True:
                await self._next()
        except MachineError as end:
            self._end = self._end or end
            self._stream.abort()

    async def _next(self) -> Message:
        try:
            while not self._unread:
                self._unread.extend(self._reader.feed(await self._stream.read()))
            message = self._unread.popleft()
            answer = self._duties.answer(message)
        except MalformedMessage as error:
            raise self._stream.fault(ProtocolViolation, error.message) from error
        if answer:
            self._stream.write(answer)
            await self._stream.drain()  # a server that sends and does not take must not fill our memory
        return message
