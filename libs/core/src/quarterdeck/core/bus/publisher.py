"""Publishing with acknowledgements: a window of messages in flight over one reply inbox, retried until confirmed.

Owns the queue, the window and the retries. All of it is synchronous: an acknowledgement settles its message and sends
the next one without a task per message. A retry has the same Nats-Msg-Id, so a message whose acknowledgement was lost
is not stored twice. Used by bus.py.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from nats.aio.msg import Msg

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.api_errors import ErrorBody, error_of, is_transient
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.errors import MessageTooLarge
from quarterdeck.core.bus.messages import EXPECTED_LAST_SUBJECT_SEQUENCE, MSG_ID, Ack, Headers, Outgoing

Settle = Callable[[Ack | Exception], None]
"""Told once how a message ended: stored, or Unavailable, WrongLastSequence, ApiError, MessageTooLarge."""

WINDOW: Final = 1000
"""Messages in flight. Source: 8-performance, 103k/s with 1,000."""
WINDOW_BYTES: Final = 32 * 1024 * 1024
_UNANSWERED: Final = "no acknowledgement"
_TICK_S: Final = 0.1
_ACK_TIMEOUT_S: Final = 1.5
"""After this a message is sent again; JetStream answers within milliseconds unless it elects a leader."""
_HEADER_ROOM_BYTES: Final = 512


class _PubAck(msgspec.Struct):
    """Source: nats-server `JSPubAckResponse`."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ErrorBody | None = None


_decode_ack = msgspec.json.Decoder(_PubAck).decode


class _Pending:
    """One message between `submit` and its end."""

    __slots__ = ("deadline_s", "headers", "outgoing", "refusal", "sent_at_s", "settle", "submitted_at_s")

    def __init__(self, outgoing: Outgoing, headers: Headers, settle: Settle) -> None:
        self.outgoing = outgoing
        self.headers = headers
        self.settle = settle
        self.submitted_at_s = 0.0
        self.deadline_s = 0.0
        self.sent_at_s = 0.0
        self.refusal = _UNANSWERED


class Publisher:
    """All publishes of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._now_s = asyncio.get_running_loop().time
        self._inbox = connection.new_inbox()
        self._id_prefix = self._inbox.rpartition(".")[2]
        self._counter = 0
        self._waiting: deque[_Pending] = deque()
        self._in_flight: dict[str, _Pending] = {}
        """By reply subject, oldest sending first."""
        self._in_flight_bytes = 0
        self._tick: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        connection.listen(f"{self._inbox}.*", self._receive)
        connection.on_up(self._send_again)

    @property
    def unsettled(self) -> int:
        """Messages that were submitted and have not ended."""
        return len(self._waiting) + len(self._in_flight)

    @property
    def oldest_age_s(self) -> float:
        """How long ago the oldest message in flight was last sent; 0 when none is."""
        for pending in self._in_flight.values():
            return self._now_s() - pending.submitted_at_s
        return 0.0

    async def wait_idle(self) -> None:
        """Return when everything submitted has ended."""
        await self._idle.wait()

    def submit(self, outgoing: Outgoing, headers: Headers | None, settle: Settle, timeout_s: float) -> None:
        """Send `outgoing` with `headers` on top of its own; `settle` is called later, at most `timeout_s` from now."""
        self._counter += 1
        size_bytes = len(outgoing.body) + _HEADER_ROOM_BYTES
        if size_bytes > self._connection.max_payload_bytes:
            error = MessageTooLarge(outgoing.subject, size_bytes, self._connection.max_payload_bytes)
            asyncio.get_running_loop().call_soon(settle, error)
            return
        pending = _Pending(outgoing, self._headers(outgoing, headers), settle)
        pending.submitted_at_s = self._now_s()
        pending.deadline_s = pending.submitted_at_s + timeout_s
        self._waiting.append(pending)
        self._idle.clear()
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(_TICK_S, self._on_tick)
        self._fill_window()

    def fail_all(self) -> None:
        """The bus closes: end everything with Unavailable."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        left = [*self._in_flight.values(), *self._waiting]
        self._in_flight.clear()
        self._waiting.clear()
        for pending in left:
            pending.settle(Unavailable("the bus was closed"))
        self._idle.set()

    def _headers(self, outgoing: Outgoing, extra: Headers | None) -> Headers:
        headers = {**(outgoing.headers or {}), **(extra or {})}
        expected = outgoing.expected_last_subject_sequence
        if expected is not None:
            headers[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected)
        if outgoing.msg_id is not None:
            headers[MSG_ID] = outgoing.msg_id
        elif expected is None:
            headers[MSG_ID] = f"{self._id_prefix}-{self._counter}"
        return headers

    def _fill_window(self) -> None:
        waiting, in_flight = self._waiting, self._in_flight
        while (
            waiting
            and len(in_flight) < WINDOW
            and self._in_flight_bytes < WINDOW_BYTES
            and self._connection.connected
        ):
            pending = waiting.popleft()
            self._counter += 1
            self._in_flight_bytes += len(pending.outgoing.body)
            self._send(f"{self._inbox}.{self._counter}", pending)

    def _send(self, reply: str, pending: _Pending) -> None:
        self._in_flight.pop(reply, None)
        self._in_flight[reply] = pending
        pending.sent_at_s = self._now_s()
        self._connection.send(pending.outgoing.subject, pending.outgoing.body, reply, pending.headers)

    def _receive(self, message: Msg) -> None:
        reply = message.subject
        pending = self._in_flight.get(reply)
        if pending is None:  # the answer to an earlier try
            return
        if not message.data:  # 503: no stream takes this subject, or not yet
            pending.refusal = "no stream answers"
            return
        try:
            ack = _decode_ack(message.data)
        except msgspec.DecodeError as error:
            self._end(reply, Unavailable(f"{pending.outgoing.subject}: answer is no PubAck: {error}"))
        else:
            if ack.error is None:
                self._end(reply, Ack(ack.stream, ack.seq, ack.duplicate))
            elif is_transient(ack.error):
                pending.refusal = ack.error.description
                return
            else:
                expected = pending.outgoing.expected_last_subject_sequence or 0
                self._end(reply, error_of(pending.outgoing.subject, ack.error, expected_sequence=expected))
        self._fill_window()

    def _end(self, reply: str, outcome: Ack | Exception) -> None:
        pending = self._in_flight.pop(reply)
        self._in_flight_bytes -= len(pending.outgoing.body)
        pending.settle(outcome)
        if not self._in_flight and not self._waiting:
            self._idle.set()

    def _on_tick(self) -> None:
        """Give up what is overdue, send again what was refused or not answered."""
        now_s = self._now_s()
        for reply, pending in list(self._in_flight.items()):
            if now_s >= pending.deadline_s:
                self._end(reply, Unavailable(f"{pending.outgoing.subject}: {pending.refusal}"))
            elif pending.refusal != _UNANSWERED or now_s - pending.sent_at_s > _ACK_TIMEOUT_S:
                pending.refusal = _UNANSWERED
                self._send(reply, pending)
        while self._waiting and now_s >= self._waiting[0].deadline_s:
            reason = self._connection.last_error or "not connected"
            self._waiting.popleft().settle(Unavailable(f"NATS is away: {reason}"))
        self._fill_window()
        if self.unsettled:
            self._tick = asyncio.get_running_loop().call_later(_TICK_S, self._on_tick)
        else:
            self._tick = None
            self._idle.set()

    def _send_again(self) -> None:
        for reply, pending in list(self._in_flight.items()):
            self._send(reply, pending)
        self._fill_window()
