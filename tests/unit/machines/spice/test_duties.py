"""S2-22F: what a server expects in return."""

import pytest

from quarterdeck.machines.spice import messages
from quarterdeck.machines.spice.duties import Duties
from quarterdeck.machines.spice.messages import FromServer, MalformedMessage, Message

ANYTHING = Message(113, b"")


def set_ack(generation: int, window: int) -> Message:
    return Message(FromServer.SET_ACK, generation.to_bytes(4, "little") + window.to_bytes(4, "little"))


def test_nothing_is_acknowledged_before_a_window_is_set() -> None:
    duties = Duties()

    assert [duties.answer(ANYTHING) for _ in range(100)] == [b""] * 100


def test_set_ack_is_answered_with_its_generation() -> None:
    assert Duties().answer(set_ack(7, 20)) == messages.ack_sync(7)


def test_every_window_of_messages_is_acknowledged_once() -> None:
    duties = Duties()
    duties.answer(set_ack(1, 3))

    answers = [duties.answer(ANYTHING) for _ in range(7)]

    assert answers == [b"", b"", messages.ack(), b"", b"", messages.ack(), b""]


def test_window_of_zero_asks_for_no_acknowledgement() -> None:
    duties = Duties()
    duties.answer(set_ack(1, 1))
    duties.answer(set_ack(2, 0))

    assert [duties.answer(ANYTHING) for _ in range(5)] == [b""] * 5


def test_new_window_counts_from_its_beginning() -> None:
    duties = Duties()
    duties.answer(set_ack(1, 3))
    duties.answer(ANYTHING)
    duties.answer(set_ack(2, 2))

    assert [duties.answer(ANYTHING) for _ in range(2)] == [b"", messages.ack()]


def test_ping_is_answered_and_counts_as_a_message() -> None:
    duties = Duties()
    duties.answer(set_ack(1, 1))
    ping = bytes(range(12)) + b"measures the wire"

    assert duties.answer(Message(FromServer.PING, ping)) == messages.ack() + messages.pong(ping)


@pytest.mark.parametrize("message", [Message(FromServer.PING, bytes(11)), Message(FromServer.SET_ACK, b"")])
def test_duty_without_its_body_is_malformed(message: Message) -> None:
    """S2-25F."""
    with pytest.raises(MalformedMessage):
        Duties().answer(message)
