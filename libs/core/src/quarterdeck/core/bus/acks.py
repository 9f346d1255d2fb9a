"""What a consumer tells JetStream about messages it was given. Fire and forget, in bursts.

An ack that is lost means one more delivery, which handlers bear anyway; so nobody waits for a confirmation.
Source: nats-server ADR-13, "Acknowledgement types".
"""

from collections.abc import Iterable
from typing import Final

from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.messages import Incoming
from quarterdeck.core.bus.wire import encode_publish

_NANOS: Final = 1_000_000_000
_FIRST_DELAY_S: Final = 0.2
_MAX_DELAY_S: Final = 30.0


def redelivery_delay_s(delivered: int) -> float:
    """Doubles from 0.2 s with each delivery, up to half a minute."""
    return min(_FIRST_DELAY_S * 2.0 ** min(delivered - 1, 10), _MAX_DELAY_S)


class Acks:
    """The four answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ack(self, messages: Iterable[Incoming]) -> None:
        """Done."""
        self._answer(messages, b"+ACK")

    def nak(self, messages: Iterable[Incoming], *, delay_s: float) -> None:
        """Not done; deliver again after `delay_s`."""
        body = b"-NAK" if delay_s <= 0 else b'-NAK {"delay": %d}' % int(delay_s * _NANOS)
        self._answer(messages, body)

    def in_progress(self, messages: Iterable[Incoming]) -> None:
        """Being worked on; the wait starts anew."""
        self._answer(messages, b"+WPI")

    def terminate(self, messages: Iterable[Incoming]) -> None:
        """Never deliver again. On a work-queue stream this removes the message."""
        self._answer(messages, b"+TERM")

    def _answer(self, messages: Iterable[Incoming], body: bytes) -> None:
        # The reply subjects are the server's own: nothing to check.
        for message in messages:
            self._connection.send_command(encode_publish(message.reply, body))
