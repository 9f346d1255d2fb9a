"""S2-22F, S2-24F: messages of a channel, against bytes packed by hand from spice-protocol's structures."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.machines.spice import messages
from quarterdeck.machines.spice.messages import (
    MAX_MESSAGE_BYTES,
    ChannelType,
    MalformedMessage,
    Message,
    MessageReader,
)
from tests.effort import effort
from tests.fuzz.damage import damaged

NUMBERS_AND_BODIES = st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=300))


def packed(number: int, body: bytes) -> bytes:
    return number.to_bytes(2, "little") + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (messages.ack(), "0200 00000000"),
        (messages.ack_sync(0x01020304), "0100 04000000 04030201"),
        (messages.pong(bytes(range(12))), "0300 0c000000 000102030405060708090a0b"),
        (messages.attach_channels(), "6800 00000000"),
        (messages.disconnecting(), "0600 0c000000 0000000000000000 00000000"),
        (messages.key_down((0x1E,)), "6500 04000000 1e000000"),
        (messages.key_up((0x1E,)), "6600 04000000 9e000000"),
        (messages.key_down((0xE0, 0x53)), "6500 04000000 e0530000"),
        (messages.key_up((0xE0, 0x53)), "6600 04000000 e0d30000"),
    ],
)
def test_messages_to_the_server_are_packed_as_the_protocol_says(message: bytes, wire: str) -> None:
    """S2-22F."""
    assert message == bytes.fromhex(wire)


def test_pong_takes_back_only_the_head_of_a_bandwidth_ping() -> None:
    """S2-22F: 256,012 bytes come, 12 go back."""
    head = bytes(range(12))

    assert messages.pong(head + bytes(256_000)) == messages.pong(head)


def test_session_id_is_the_first_word_of_main_init() -> None:
    """S2-22F."""
    main_init = bytes.fromhex("efbeadde 01000000 03000000 01000000 00000000 0a000000 11223344 00000000")

    assert messages.session_id(main_init) == 0xDEADBEEF


def test_channel_types_are_listed_once_each() -> None:
    """S2-22F: two displays, inputs, and a type that nobody here knows."""
    channels_list = bytes.fromhex("04000000 0200 0201 0300 6300")

    assert messages.channel_types(channels_list) == {2, ChannelType.INPUTS, 0x63}


def test_ack_window_follows_the_generation() -> None:
    """S2-22F."""
    assert messages.ack_window(bytes.fromhex("07000000 14000000")) == (7, 20)


@pytest.mark.parametrize(
    ("reading", "body"),
    [
        (messages.session_id, b"\0\0\0"),
        (messages.ack_window, b"\0" * 7),
        (messages.channel_types, b"\0\0\0"),
        (messages.channel_types, b"\2\0\0\0\3\0"),
        (messages.channel_types, b"\xff\xff\xff\xff\3\0"),
        (messages.pong, b"\0" * 11),
    ],
)
def test_body_that_is_too_short_is_malformed(reading: object, body: bytes) -> None:
    """S2-25F."""
    assert callable(reading)
    with pytest.raises(MalformedMessage):
        reading(body)


@given(st.lists(NUMBERS_AND_BODIES, max_size=20), st.lists(st.integers(0, 7000), max_size=20))
def test_messages_survive_any_cutting_of_the_stream(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    """S2-24F."""
    stream = b"".join(packed(*message) for message in sent)
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut <= len(stream))})
    reader = MessageReader()

    read = [message for start, end in pairwise(borders) for message in reader.feed(stream[start:end])]

    assert read == [Message(*message) for message in sent]
    assert reader.buffered_bytes == 0


@effort(200)
@given(
    st.lists(
        damaged([packed(103, bytes(32)), packed(4, bytes(12)), packed(3, bytes(8)), packed(104, bytes(6))]),
        max_size=6,
    )
)
def test_garbage_gives_messages_or_a_malformed_message(pieces: list[bytes]) -> None:
    """S2-24F, S2-25F: no byte is lost or kept twice, until a header announces too much."""
    reader = MessageReader()
    read: list[Message] = []
    try:
        for piece in pieces:
            read += reader.feed(piece)
    except MalformedMessage:
        assert reader.buffered_bytes == 0
        return
    rest_bytes = reader.buffered_bytes
    assert b"".join(packed(*message) for message in read) == b"".join(pieces)[: -rest_bytes or None]


def test_largest_message_passes() -> None:
    """S2-25F."""
    body = bytes(MAX_MESSAGE_BYTES)

    assert MessageReader().feed(packed(4, body)) == [Message(4, body)]


@pytest.mark.parametrize("size_bytes", [MAX_MESSAGE_BYTES + 1, 0xFFFFFFFF])
def test_message_that_is_too_large_is_refused_before_its_body_arrives(size_bytes: int) -> None:
    """S2-25F."""
    reader = MessageReader()

    with pytest.raises(MalformedMessage):
        reader.feed((4).to_bytes(2, "little") + size_bytes.to_bytes(4, "little"))

    assert reader.buffered_bytes == 0
