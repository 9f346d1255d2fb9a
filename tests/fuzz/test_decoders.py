"""Every decoder of bytes or text: a value of its type, or its own error. Nothing else comes out, and little memory."""

import base64
import struct
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.broadcaster.handlers.event_ids import EventId, parse_event_id
from quarterdeck.broadcaster.handlers.openings import Opening, open_at
from quarterdeck.broadcaster.handlers.scopes import Scope
from quarterdeck.contracts import codec, ids, subjects
from quarterdeck.contracts.errors import (
    DecodeError,
    InvalidCursor,
    InvalidEventId,
    InvalidId,
    InvalidInput,
    InvalidTarget,
)
from quarterdeck.contracts.limits import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from quarterdeck.core.bus import StreamFacts
from quarterdeck.core.store import Cursor
from quarterdeck.wire.framing import FrameDecoder, FrameError, encode
from quarterdeck.wire.join_token import InvalidJoinToken, JoinToken
from tests.effort import effort
from tests.fuzz.damage import damaged, hostile_texts
from tests.unit.contracts.samples import SAMPLES

_FACTS = StreamFacts(
    name="QD_FEED", first_sequence=5, last_sequence=9, created_ms=1_763_700_000_000, messages=5, bytes=5
)
_TOKEN = str(JoinToken.create(bytes(range(64))))
_CURSOR = Cursor("0123456789ab", "01a1fd08-9b86-704f-9624-a7ae3da839d1").encode()


class Text(NamedTuple):
    """A parser of text. `samples`: what it takes."""

    parse: Callable[[str], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    samples: tuple[str, ...]


PARSERS = {
    "Last-Event-ID": Text(parse_event_id, InvalidEventId, ("1763700000000-17",)),
    "opening of a watcher": Text(
        lambda text: open_at(Scope.of_tenant("t"), _FACTS, last_event_id=text, begin=None),
        InvalidEventId,
        ("1763700000000-7", "1763700000000-1", "1-1"),
    ),
    "beginning of a watcher": Text(
        lambda text: open_at(Scope.of_tenant("t"), _FACTS, last_event_id=None, begin=text),
        InvalidInput,
        ("now", "start"),
    ),
    "join token": Text(JoinToken.parse, InvalidJoinToken, (_TOKEN,)),
    "cursor": Text(lambda text: Cursor.decode(text, "0123456789ab"), InvalidCursor, (_CURSOR,)),
    "id": Text(lambda text: ids.check_id(text, "id"), InvalidId, ("web-1",)),
    "uuid": Text(lambda text: ids.check_uuid(text, "id"), InvalidId, (ids.new_id(),)),
    "shard of an id": Text(ids.shard_of, InvalidId, (ids.new_id(),)),
    "target": Text(lambda text: ids.parse_target(text, "target"), InvalidTarget, ("hv-1/vm-7", "web-1")),
    "subject of output": Text(
        subjects.parse_output, DecodeError, (subjects.output("t", None, "c", 1, "stdout"),)
    ),
    "subject of an event": Text(
        subjects.parse_event, DecodeError, (subjects.event("t", "b", "c", "command", "sent"),)
    ),
}


@pytest.mark.parametrize("name", PARSERS)
def test_text_is_taken_or_refused_with_the_parsers_own_error(name: str) -> None:
    """S0-28, I5: and what is taken can be written again and taken again."""
    parser = PARSERS[name]
    for sample in parser.samples:
        parser.parse(sample)

    @effort(100)
    @given(hostile_texts(*parser.samples))
    def holds(text: str) -> None:
        try:
            parsed = parser.parse(text)
        except parser.error:
            return
        if isinstance(parsed, EventId | JoinToken):
            assert parser.parse(str(parsed)) == parsed
        if isinstance(parsed, Opening):
            assert parsed.after <= _FACTS.last_sequence

    holds()


@pytest.mark.parametrize("name", SAMPLES)
def test_message_is_decoded_or_refused(name: str) -> None:
    """I1: nothing that arrives on the bus raises anything but DecodeError, so a bad message can be put aside."""
    kind, value = SAMPLES[name]
    decoder: codec.Decoder[Any] = codec.Decoder(kind)
    whole = codec.encode(value)
    for end in range(len(whole)):
        with pytest.raises(DecodeError):
            decoder.decode(whole[:end])

    @effort(100)
    @given(damaged([whole]))
    def holds(raw: bytes) -> None:
        try:
            message = decoder.decode(raw)
        except DecodeError:
            return
        assert decoder.decode(codec.encode(message)) == message

    holds()


@pytest.mark.parametrize(
    "head",
    [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"],
    ids=["array", "map", "bytes", "text"],
)
@pytest.mark.parametrize("name", ["report_batch_1", "dispatch_chunk_1", "agent_1"])
def test_length_that_a_message_only_claims_costs_no_memory(name: str, head: bytes) -> None:
    """I9: four billion of anything, in five bytes; alone, and where a member's value would be."""
    kind, value = SAMPLES[name]
    decoder: codec.Decoder[Any] = codec.Decoder(kind)
    whole = codec.encode(value)

    for at in range(0, len(whole), 7):
        _assert_cheap(partial(_decode, decoder, whole[:at] + head))


def test_message_beyond_the_limit_is_not_even_looked_at() -> None:
    decoder: codec.Decoder[Any] = codec.Decoder(list[int])

    with pytest.raises(DecodeError, match="limit"):
        decoder.decode(codec.encode([0] * MAX_MESSAGE_BYTES))


@given(length=st.integers(MAX_FRAME_BYTES + 1, 2**32 - 1), before=st.lists(st.binary(min_size=1), max_size=3))
def test_frame_length_of_four_gibibytes_costs_no_memory(length: int, before: list[bytes]) -> None:
    """S1-4, I9"""
    stream = b"".join(map(encode, before)) + struct.pack(">I", length) + b"begin"

    def feed() -> None:
        with pytest.raises(FrameError):
            FrameDecoder().feed(stream)

    _assert_cheap(feed)


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda b: encode(b + b"."))), max_size=8
    )
)
def test_pieces_of_anything_are_frames_or_a_frame_error(pieces: list[bytes]) -> None:
    """S1-4: and an unfinished frame is all that is kept."""
    decoder, taken = FrameDecoder(), 0
    for piece in pieces:
        try:
            taken += sum(4 + len(frame) for frame in decoder.feed(piece))
        except FrameError as error:
            assert not 0 < error.length <= MAX_FRAME_BYTES
            return
    assert taken + decoder.buffered_bytes == sum(map(len, pieces))


@given(st.binary(max_size=80))
def test_cursor_of_any_bytes_is_no_cursor(raw: bytes) -> None:
    try:
        Cursor.decode(base64.urlsafe_b64encode(raw).decode().rstrip("="), "0123456789ab")
    except InvalidCursor:
        return
    assert msgspec.msgpack.decode(raw, type=list)[0] == "0123456789ab"


def _decode(decoder: codec.Decoder[Any], raw: bytes) -> None:
    try:
        decoder.decode(raw)
    except DecodeError:
        pass  # mostly; a length inside a member that we do not know is skipped


def _assert_cheap(act: Callable[[], None]) -> None:
    """`act` holds at most 256 KiB at any time."""
    tracemalloc.start()
    try:
        act()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 256 * 1024
