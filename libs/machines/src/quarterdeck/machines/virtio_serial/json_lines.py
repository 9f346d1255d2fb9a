"""Messages over a virtio-serial channel: one JSON value per line, both ways.

Owns the lines and the ids of requests; the channel is a VirtioSerialProtocol's. A line that is too long or no JSON is
an error of its own, and the next line is read as if it had not been.
"""

import asyncio
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import msgspec

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.machines.errors import ProtocolViolation, TimedOut
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.virtio_serial.lines import LineReader, LineTooLong
from quarterdeck.machines.virtio_serial.virtio_serial import VirtioSerialProtocol

MAX_LINE_BYTES: Final = 1024 * 1024
REQUEST_ID: Final = "id"
"""The member of a request that its answer brings back."""


class JsonLines:
    """Over one connection of a channel, which nobody else reads. Safe for several tasks."""

    def __init__(self, channel: VirtioSerialProtocol, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._channel = channel
        self._max_line_bytes = max_line_bytes
        self._lines = LineReader(max_line_bytes)
        self._turn = asyncio.Lock()
        self._id_prefix = secrets.token_hex(8)
        self._numbers = count()

    async def send_message(self, message: Any) -> None:
        """Raises InvalidInput for what is no JSON or too long, and what the channel's send raises."""
        try:
            line = msgspec.json.encode(message)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"message: expected JSON: {error}", field="message") from error
        if len(line) >= self._max_line_bytes:
            raise InvalidInput(f"message: more than {self._max_line_bytes} bytes", field="message")
        await self._channel.send(line + b"\n")

    async def receive_message(self) -> Any:
        """The next line's value. Raises ProtocolViolation for a line that has none, ConnectionEnded, TimedOut.

        Whoever is cancelled here, or runs out of time, loses nothing.
        """
        try:
            async with asyncio.timeout(self._channel.timeout_s), self._turn:
                return await self._next()
        except TimeoutError as error:
            raise self._no_line() from error

    async def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send `message` with an id of ours, and wait for the message with the same id; others are dropped meanwhile.

        The guest's program copies `id` from request to answer. So the answer that comes too late for one caller is
        never another's. Raises what send_message and receive_message raise.
        """
        request_id = f"{self._id_prefix}-{next(self._numbers)}"
        try:
            async with asyncio.timeout(self._channel.timeout_s), self._turn:
                await self.send_message({**message, REQUEST_ID: request_id})
                while True:
                    answer = await self._next()
                    if isinstance(answer, dict) and answer.get(REQUEST_ID) == request_id:
                        return answer
        except TimeoutError as error:
            raise self._no_line() from error

    async def _next(self) -> Any:
        try:
            while (line := self._lines.next_line()) is None:
                self._lines.feed(await self._channel.receive())
            return msgspec.json.decode(line)
        except LineTooLong as error:
            raise self._violation(f"a line of more than {self._max_line_bytes} bytes") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._violation("a line that is no JSON") from error

    def _violation(self, text: str) -> ProtocolViolation:
        return ProtocolViolation(text, guest=self._channel.guest_name, protocol=ProtocolType.VIRTIO_SERIAL)

    def _no_line(self) -> TimedOut:
        text = f"no whole line in {self._channel.timeout_s:g} s"
        return TimedOut(text, guest=self._channel.guest_name, protocol=ProtocolType.VIRTIO_SERIAL)
