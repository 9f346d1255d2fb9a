"""virtio.send: one line to a channel of a guest, and, if it is wanted, the next line that comes back. For calls.py.

Nothing in a channel says which line answers which. So the caller has the channel to itself, what lay there unread is
dropped first, and the next whole line is the reply.
"""

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from quarterdeck.agent.handlers import HandlerError
from quarterdeck.contracts.guests import VirtioReply, VirtioSend
from quarterdeck.machines.errors import TimedOut
from quarterdeck.wire.codes import ResultReason

if TYPE_CHECKING:
    from quarterdeck.machines.virtio_serial import VirtioSerialProtocol

_UNREAD_S: Final = 0.01
"""What has reached us is read in less: the socket is looked at once."""
_QUIET_WITHIN_S: Final = 1.0
"""A guest that writes on and on has no reply: no line of it would be one."""
_MAX_REPLY_BYTES: Final = 128 * 1024
"""As JSON it is at most twice as long, but for control characters, and fits into a result."""


async def exchange(channel: "VirtioSerialProtocol", asked: VirtioSend) -> VirtioReply | None:
    """Raises HandlerError without a fitting reply in time, ConnectionEnded, TimedOut when the guest does not read."""
    line = msgspec.json.encode(asked.message) if asked.text is None else asked.text.encode()
    if asked.reply_timeout_ms is None:
        await channel.send(line + b"\n")
        return None
    await _drop_unread(channel)
    await channel.send(line + b"\n")
    try:
        async with asyncio.timeout(asked.reply_timeout_ms / 1000):
            reply = await _next_line(channel)
    except TimeoutError:
        raise _failed(f"no line in return within {asked.reply_timeout_ms} ms") from None
    if asked.text is not None:
        return VirtioReply(text=reply.decode(errors="replace"))
    try:
        return VirtioReply(message=msgspec.json.decode(reply))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _failed("the line in return is no JSON") from None


async def _drop_unread(channel: "VirtioSerialProtocol") -> None:
    """Raises HandlerError, ConnectionEnded."""
    clock = asyncio.get_running_loop().time
    gives_up_at_s = clock() + _QUIET_WITHIN_S
    was_silent = False
    while True:
        try:
            # A second look, since the first may have ended because we were busy, with something in the socket.
            async with asyncio.timeout(0 if was_silent else _UNREAD_S):
                await channel.receive()
        except TimeoutError:
            if was_silent:
                return
            was_silent = True
        else:
            was_silent = False
            if clock() >= gives_up_at_s:
                raise _failed("the guest does not stop writing, so no line could be told to be the reply")


async def _next_line(channel: "VirtioSerialProtocol") -> bytes:
    """Without its line break."""
    begun = bytearray()
    while b"\n" not in begun:
        try:
            begun += await channel.receive()
        except TimedOut:
            continue  # the channel's own patience; ours is the caller's
        if len(begun) > _MAX_REPLY_BYTES:
            raise _failed(f"a line in return of more than {_MAX_REPLY_BYTES} bytes")
    return bytes(begun.partition(b"\n")[0])


def _failed(text: str) -> HandlerError:
    return HandlerError(ResultReason.EXECUTION_FAILED, f"execution failed: {text}")
