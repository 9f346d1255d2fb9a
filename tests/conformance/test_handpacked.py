"""The codec that judges our wire formats, against bytes written out by hand."""

import pytest

from tests.conformance.handpacked import Message, NotAMessage, integer, nested, octets, pack, text, varint


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "80 01"),
        (300, "ac 02"),
        (10_485_760, "80 80 80 05"),
        ((1 << 64) - 1, "ff ff ff ff ff ff ff ff ff 01"),
        (-1, "ff ff ff ff ff ff ff ff ff 01"),
    ],
)
def test_numbers_are_groups_of_seven_bits_lowest_first(value: int, packed: str) -> None:
    assert varint(value) == bytes.fromhex(packed)


@pytest.mark.parametrize(
    ("field", "packed"),
    [
        (integer(1, 150), "08 96 01"),
        (integer(16, 1), "80 01 01"),
        (integer(3, -1), "18 ff ff ff ff ff ff ff ff ff 01"),
        (text(2, "testing"), "12 07 74 65 73 74 69 6e 67"),
        (octets(3, b"\xff\x00"), "1a 02 ff 00"),
        (nested(8, integer(1, 150)), "42 03 08 96 01"),
        (nested(4), "22 00"),
    ],
)
def test_fields_are_the_bytes_of_the_specification(field: bytes, packed: str) -> None:
    """The first and the fourth are the examples of the specification itself."""
    assert field == bytes.fromhex(packed)


def test_a_message_gives_back_what_was_packed() -> None:
    message = Message(
        pack(integer(1, 7), text(2, "a"), text(2, "ü"), nested(8, integer(3, -2)), octets(16, b"\xff"))
    )

    assert message.numbers() == [1, 2, 2, 8, 16]
    assert message.integer(1) == 7
    assert message.text(2) == "ü"
    assert message.every(2) == [b"a", "ü".encode()]
    assert message.nested(8).signed(3) == -2
    assert message.octets(16) == b"\xff"


def test_absent_fields_read_as_zero() -> None:
    message = Message(b"")

    assert (message.has(1), message.integer(1), message.text(1), message.octets(1)) == (False, 0, "", b"")


def test_fixed_numbers_are_read_over() -> None:
    """Fields of types that no protocol of ours uses do not disturb those behind them."""
    message = Message(bytes.fromhex("0d 01020304  11 0102030405060708  18 05"))

    assert message.numbers() == [1, 2, 3]
    assert message.integer(3) == 5


@pytest.mark.parametrize("raw", ["08", "12 05 61", "08 ff ff ff ff ff ff ff ff ff ff 01", "0b", "00 01"])
def test_bytes_that_are_no_message_are_refused(raw: str) -> None:
    with pytest.raises(NotAMessage):
        Message(bytes.fromhex(raw))
