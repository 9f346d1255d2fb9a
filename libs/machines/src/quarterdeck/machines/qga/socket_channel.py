"""The way to a guest's agent through a socket: QEMU's end of the guest's serial port, or qemu-ga's own.

Owns the connection and its order. Every request has an id that was never used before, and only the reply with that id
is its answer; what belongs to others is dropped. An exchange that was cut short, whatever the reason, leaves the
channel out of order, and the next one begins with a sync (framing.py). An agent that knows no ids has the sync alone.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

import msgspec
import structlog

from quarterdeck.machines.errors import ConnectionEnded, MachineError, ProtocolViolation, Refused
from quarterdeck.machines.guest import Endpoint, ProtocolType
from quarterdeck.machines.noncharacters import NONCHARACTERS_REFUSED, has_noncharacter
from quarterdeck.machines.qga.channel import Answer, tell_late
from quarterdeck.machines.qga.framing import (
    MAX_REPLY_BYTES,
    Reply,
    ReplyReader,
    ReplyTooLong,
    answers_sync,
    decode_reply,
    encode_request,
    encode_sync,
)
from quarterdeck.machines.qga.structures import Request
from quarterdeck.machines.sockets import dial, has_hung_up

log = structlog.get_logger()

_READ_BYTES: Final = 256 * 1024
_FAREWELL_S: Final = 0.25
_PROBE: Final = Request("guest-ping")


class SocketChannel:
    """To the agent of the guest of that name."""

    def __init__(self, guest: str, endpoint: Endpoint, *, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._guest = guest
        self._endpoint = endpoint
        self._max_reply_bytes = max_reply_bytes
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._replies = ReplyReader(max_reply_bytes)
        self._in_order = False
        """No request of ours is unanswered."""
        self._owed: dict[str, Callable[[msgspec.Raw], None]] = {}
        """Who wants an answer even if it is late, by the request's id. It comes before the answer to the next sync."""
        self._id_prefix = secrets.token_hex(8)
        self._numbers = count()
        self._echoes_ids: bool | None = None
        """None: not known yet. False: an agent too old for them, whose replies are known by their order alone."""

    @property
    def is_open(self) -> bool:
        return self._writer is not None and not has_hung_up(self._writer)

    async def open(self) -> None:
        await self.close()
        await self._connect()
        await self._synchronise()

    async def exchange(self, requests: Sequence[Request], timeout_s: float) -> list[Answer]:
        del timeout_s  # whoever waits cancels us
        if not self._in_order:
            if self._writer is None or self._writer.transport.get_write_buffer_size():
                await self.open()  # an agent that did not even take the last request gets no more of them
            else:
                await self._synchronise()
        ids = [self._new_id() if self._echoes_ids else None for _ in requests]
        lines = b"".join(map(encode_request, requests, ids))
        if has_noncharacter(lines):
            raise Refused("GenericError", NONCHARACTERS_REFUSED, guest=self._guest, protocol=ProtocolType.QGA)
        self._in_order = False
        self._expect(requests, ids)
        await self._send(lines)
        answers: list[Answer] = []
        try:
            for request_id in ids:
                answer = await self._answer_to(request_id)
                answers.append(answer)
        except BaseException:
            tell_late(requests, answers)
            raise
        self._owed.clear()
        self._in_order = True
        return answers

    async def close(self) -> None:
        writer, was_in_order = self._writer, self._in_order
        self._reader, self._writer, self._in_order = None, None, False
        if writer is None:
            return
        is_owed = not was_in_order and not writer.transport.is_closing()
        rest = writer.get_extra_info("socket").dup() if is_owed else None
        writer.transport.abort()  # whoever still waits for an answer learns of it
        if rest is not None:
            await _take_rest(rest)
        try:
            await writer.wait_closed()
        except OSError:
            pass  # closed all the same

    # ---- The connection

    async def _connect(self) -> None:
        connection = await dial(self._endpoint, guest=self._guest, protocol=ProtocolType.QGA)
        try:
            self._reader, self._writer = await asyncio.open_connection(sock=connection, limit=_READ_BYTES)
        except BaseException:
            connection.close()
            raise
        self._replies = ReplyReader(self._max_reply_bytes)
        log.debug("qga.connected", guest=self._guest)

    async def _synchronise(self) -> None:
        """Afterwards the next reply is the answer to our next request."""
        token, probe_id = secrets.randbits(62), self._new_id()
        probe = b"" if self._echoes_ids is not None else encode_request(_PROBE, probe_id)
        self._replies.skip_to_delimiter()
        await self._send(encode_sync(token) + probe)
        while not answers_sync(await self._next_line(), token):
            self._replies.skip_to_delimiter()
        self._owed.clear()
        if self._echoes_ids is None:
            self._echoes_ids = (await self._next_reply()).id == probe_id
        self._in_order = True

    def _expect(self, requests: Sequence[Request], ids: Sequence[str | None]) -> None:
        for request, request_id in zip(requests, ids, strict=True):
            if request.on_late is not None and request_id is not None:
                self._owed[request_id] = request.on_late

    def _take_late(self, line: bytes) -> None:
        try:
            reply = decode_reply(line)
        except ValueError:
            return
        on_late = self._owed.pop(reply.id, None) if isinstance(reply.id, str) else None
        if on_late is not None and isinstance(reply.result, msgspec.Raw):
            on_late(reply.result)

    def _new_id(self) -> str:
        return f"{self._id_prefix}-{next(self._numbers)}"

    # ---- Lines

    async def _send(self, lines: bytes) -> None:
        if self._writer is None:
            raise self._error(ConnectionEnded, "closed")
        try:
            self._writer.write(lines)
            await self._writer.drain()
        except OSError as error:
            await self.close()
            raise self._error(ConnectionEnded, str(error)) from error

    async def _answer_to(self, request_id: str | None) -> Answer:
        while (reply := await self._next_reply()).id != request_id:
            if reply.id is None and reply.error is not None:  # it could not even read our request
                raise self._error(ProtocolViolation, reply.error.description)
            log.debug("qga.reply_dropped", guest=self._guest)
        if reply.error is not None:
            refusal = Refused(
                reply.error.error_class,
                reply.error.description,
                guest=self._guest,
                protocol=ProtocolType.QGA,
            )
            return Answer.refused(refusal)
        assert isinstance(reply.result, msgspec.Raw)
        return Answer(self._guest, reply.result)

    async def _next_reply(self) -> Reply:
        while not (line := await self._next_line()).strip():
            pass
        try:
            return decode_reply(line)
        except ValueError as error:
            raise self._error(ProtocolViolation, str(error)) from None

    async def _next_line(self) -> bytes:
        while True:
            try:
                line = self._replies.next_line()
            except ReplyTooLong:
                await self.close()
                limit = self._max_reply_bytes
                raise self._error(ProtocolViolation, f"a reply of more than {limit} bytes") from None
            for dropped in self._replies.take_dropped():
                self._take_late(dropped)
            if line is not None:
                return line
            self._replies.feed(await self._read())

    async def _read(self) -> bytes:
        if self._reader is None:
            raise self._error(ConnectionEnded, "closed")
        try:
            piece = await self._reader.read(_READ_BYTES)
        except OSError as error:
            await self.close()
            raise self._error(ConnectionEnded, str(error)) from error
        if not piece:
            await self.close()
            raise self._error(ConnectionEnded, "the agent's socket was closed")
        return piece

    def _error(self, error_type: type[MachineError], message: str) -> MachineError:
        return error_type(message, guest=self._guest, protocol=ProtocolType.QGA)


async def _take_rest(connection: socket.socket) -> None:
    """Let the agent say what it still has to say, and be the one who hangs up. Closes the connection.

    qemu-ga that listens itself ends, for everybody, over a client that leaves with an answer unread (ECONNRESET).
    """
    loop = asyncio.get_running_loop()
    try:
        connection.setblocking(False)
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_FAREWELL_S):
            while await loop.sock_recv(connection, _READ_BYTES):
                pass
    except (OSError, TimeoutError):
        pass  # gone, or silent: then it is not kept from anything
    finally:
        connection.close()
