"""Publishing with acknowledgements: a window of messages in flight over one reply inbox, retried until confirmed.

Owns the queue, window and retries. All of it is synchronous: an acknowledgement settles its message and sends the next
one without a task per message. A retry carries the same Nats-Msg-Id, so a message whose acknowledgement was lost is not
stored twice. Used by bus.py.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus.api_errors import ErrorBody, error_of, is_transient
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.errors import MessageTooLarge
from quarterdeck.core.bus.messages import EXPECTED_LAST_SUBJECT_SEQUENCE, MSG_ID, Ack, Headers, Outgoing
from quarterdeck.core.bus.wire import Delivery, check_publishable, encode_publish

WINDOW: Final = 1000
"""Messages in flight. Measured: 103k/s with 1,000 in flight."""
WINDOW_BYTES: Final = 32 * 1024 * 1024
_UNANSWERED: Final = "no acknowledgement"
_TICK_S: Final = 0.1
_ACK_TIMEOUT_S: Final = 1.5
"""After this a message is sent again; JetStream answers within milliseconds unless it elects a leader."""
_HEADER_ROOM_BYTES: Final = 512


class Burst(Protocol):
    """Messages submitted together; told once for each how it ended."""

    def settle(self, index: int, outcome: Ack | Exception) -> None:
        """`outcome`: stored, or Unavailable, WrongLastSequence, ApiError, MessageTooLarge."""
        ...


class _PubAck(msgspec.Struct):
    """Source: nats-server `JSPubAckResponse`."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ErrorBody | None = None


_decode_ack = msgspec.json.Decoder(_PubAck).decode


class _Pending:
    """One message between `submit` and its end."""

    __slots__ = (
        "burst",
        "deadline_s",
        "headers",
        "index",
        "outgoing",
        "refusal",
        "sent_at_s",
        "submitted_at_s",
    )

    def __init__(self, outgoing: Outgoing, headers: Headers, burst: Burst, index: int) -> None:
        self.outgoing = outgoing
        self.headers = headers
        self.burst = burst
        self.index = index
        self.refusal = _UNANSWERED
        self.submitted_at_s = 0.0
        self.deadline_s = 0.0
        self.sent_at_s = 0.0

    def settle(self, outcome: Ack | Exception) -> None:
        self.burst.settle(self.index, outcome)


class Publisher:
    """All publishes of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._now_s = self._loop.time
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
        """For how long the message in flight that was sent longest ago has been under way; 0 when there is none."""
        for pending in self._in_flight.values():
            return self._now_s() - pending.submitted_at_s
        return 0.0

    async def wait_idle(self) -> None:
        """Return when everything submitted has ended."""
        await self._idle.wait()

    def submit(
        self, messages: Sequence[Outgoing], headers: Headers | None, burst: Burst, timeout_s: float
    ) -> None:
        """Send `messages`, each with `headers` on top of its own; `burst` is told within `timeout_s` how each ended.

        Raises ValueError for a subject or header name that is none; then nothing was sent.
        """
        for outgoing in messages:
            check_publishable(outgoing.subject, outgoing.headers)
        now_s = self._now_s()
        limit_bytes = self._connection.max_payload_bytes - _HEADER_ROOM_BYTES
        for index, outgoing in enumerate(messages):
            if len(outgoing.body) > limit_bytes:
                error = MessageTooLarge(outgoing.subject, len(outgoing.body), limit_bytes)
                self._loop.call_soon(burst.settle, index, error)
                continue
            pending = _Pending(outgoing, self._headers(outgoing, headers), burst, index)
            pending.submitted_at_s = now_s
            pending.deadline_s = now_s + timeout_s
            self._waiting.append(pending)
        self._idle.clear()
        if self._tick is None:
            self._tick = self._loop.call_later(_TICK_S, self._on_tick)
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
        headers = {**outgoing.headers} if outgoing.headers else {}
        if extra:
            headers |= extra
        expected = outgoing.expected_last_subject_sequence
        if expected is not None:
            headers[EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected)
        if outgoing.msg_id is not None:
            headers[MSG_ID] = outgoing.msg_id
        elif expected is None:
            self._counter += 1
            headers[MSG_ID] = f"{self._id_prefix}-{self._counter}"
        return headers

    def _fill_window(self) -> None:
        waiting, in_flight = self._waiting, self._in_flight
        if not waiting or not self._connection.connected:
            return
        now_s = self._now_s()
        while waiting and len(in_flight) < WINDOW and self._in_flight_bytes < WINDOW_BYTES:
            pending = waiting.popleft()
            self._counter += 1
            self._in_flight_bytes += len(pending.outgoing.body)
            self._send(f"{self._inbox}.{self._counter}", pending, now_s)

    def _send(self, reply: str, pending: _Pending, now_s: float) -> None:
        outgoing = pending.outgoing
        self._in_flight[reply] = pending
        pending.sent_at_s = now_s
        self._connection.send_command(encode_publish(outgoing.subject, outgoing.body, reply, pending.headers))

    def _send_again(self) -> None:
        """Everything in flight, because the connection that it was sent over is gone."""
        self._resend(list(self._in_flight.items()), self._now_s())
        self._fill_window()

    def _resend(self, items: list[tuple[str, _Pending]], now_s: float) -> None:
        for reply, pending in items:
            del self._in_flight[reply]  # to the end of the order
            self._send(reply, pending, now_s)

    def _receive(self, message: Delivery) -> None:
        reply = message.subject
        pending = self._in_flight.get(reply)
        if pending is None:  # the answer to an earlier try
            return
        if not message.body:  # 503: no stream takes this subject, or not yet
            pending.refusal = "no stream answers"
            return
        try:
            ack = _decode_ack(message.body)
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
        pending.burst.settle(pending.index, outcome)
        if not self._in_flight and not self._waiting:
            self._idle.set()

    def _on_tick(self) -> None:
        """Give up what is overdue, send again what was refused or not answered."""
        now_s = self._now_s()
        again: list[tuple[str, _Pending]] = []
        for reply, pending in list(self._in_flight.items()):
            if now_s >= pending.deadline_s:
                self._end(reply, Unavailable(f"{pending.outgoing.subject}: {pending.refusal}"))
            elif pending.refusal is not _UNANSWERED or now_s - pending.sent_at_s > _ACK_TIMEOUT_S:
                pending.refusal = _UNANSWERED
                again.append((reply, pending))
        if self._connection.connected:
            self._resend(again, now_s)
        while self._waiting and now_s >= self._waiting[0].deadline_s:
            reason = self._connection.last_error or "not connected"
            self._waiting.popleft().settle(Unavailable(f"NATS is away: {reason}"))
        self._fill_window()
        if self.unsettled:
            self._tick = self._loop.call_later(_TICK_S, self._on_tick)
        else:
            self._tick = None
            self._idle.set()
