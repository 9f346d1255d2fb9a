"""S2-24F: lines, ids and the sync, with bytes cut at every place and bytes that nobody should send."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.machines.qga.framing import (
    DELIMITER,
    MAX_LATE_BYTES,
    ReplyReader,
    ReplyTooLong,
    answers_sync,
    decode_reply,
    encode_request,
    encode_sync,
)
from quarterdeck.machines.qga.structures import GuestExec, Request
from tests.effort import effort
from tests.fuzz.damage import damaged

REPLIES = [
    b'{"return": {}, "id": "a-1"}',
    b'{"return": {"pid": 4711}, "id": "a-2"}',
    b'{"error": {"class": "GenericError", "desc": "no"}, "id": "a-3"}',
    b'{"return": {"exited": true, "exitcode": 0, "out-data": "aGkK"}, "id": "a-4"}',
]
LIMIT = 1_000


def lines_of(reader: ReplyReader, pieces: Iterable[bytes]) -> list[bytes]:
    lines = []
    for piece in pieces:
        reader.feed(piece)
        while (line := reader.next_line()) is not None:
            lines.append(line)
    return lines


def cut(content: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[start:end] for start, end in pairwise(edges)]


@given(places=st.lists(st.integers(0, 10_000), max_size=12))
@effort(100)
def test_lines_are_the_same_however_the_bytes_arrive(places: list[int]) -> None:
    content = b"".join(reply + b"\n" for reply in REPLIES)

    assert lines_of(ReplyReader(LIMIT), cut(content, places)) == REPLIES


@given(
    before=damaged([b"\n".join(REPLIES)]).map(lambda noise: noise.replace(DELIMITER, b"?")),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
@effort(100)
def test_what_comes_before_the_delimiter_is_dropped(before: bytes, places: list[int]) -> None:
    """S2-25F: stale, half or foreign replies."""
    reader = ReplyReader(LIMIT)
    reader.feed(b'{"return": "half a li')
    reader.skip_to_delimiter()

    lines = lines_of(reader, cut(before + DELIMITER + REPLIES[0] + b"\n", places))

    assert lines == [REPLIES[0]]


@given(noise=st.lists(damaged(REPLIES) | st.just(b"\n") | st.just(DELIMITER), max_size=20))
@effort(200)
def test_noise_becomes_replies_or_a_typed_error_in_bounded_memory(noise: list[bytes]) -> None:
    """S2-25F."""
    reader = ReplyReader(LIMIT)
    for piece in noise:
        reader.feed(piece)
        try:
            while (line := reader.next_line()) is not None:
                assert b"\n" not in line
                try:
                    reply = decode_reply(line)
                except ValueError:
                    continue
                assert (reply.error is None) != (reply.result is msgspec.UNSET)
        except ReplyTooLong:
            reader = ReplyReader(LIMIT)
        assert len(reader._buffer) <= LIMIT + len(piece)


@given(noise=damaged(REPLIES), token=st.integers(0, 2**62))
@effort(100)
def test_noise_answers_no_sync(noise: bytes, token: int) -> None:
    assert not answers_sync(noise, token)


def test_sync_is_answered_by_its_own_token_alone() -> None:
    assert answers_sync(b'{"return": 7}', 7)
    assert not answers_sync(b'{"return": 7}', 8)
    assert not answers_sync(b'{"error": {"class": "CommandNotFound", "desc": "7"}}', 7)


def test_sync_begins_with_a_byte_that_ends_every_half_request() -> None:
    line = encode_sync(7)

    assert line[:1] == b"\xff"
    assert json.loads(line[1:]) == {"execute": "guest-sync-delimited", "arguments": {"id": 7}}


def test_line_without_an_end_is_an_error_at_the_limit() -> None:
    """S2-25F."""
    reader = ReplyReader(LIMIT)
    reader.feed(bytes(LIMIT))
    assert reader.next_line() is None

    reader.feed(b"x")

    with pytest.raises(ReplyTooLong):
        reader.next_line()


def test_endless_bytes_without_a_delimiter_are_not_kept() -> None:
    """S2-25F."""
    reader = ReplyReader(LIMIT)
    reader.skip_to_delimiter()

    for _ in range(100):
        reader.feed(bytes(LIMIT))

    assert len(reader._buffer) <= MAX_LATE_BYTES
    assert reader.next_line() is None


@given(places=st.lists(st.integers(0, 10_000), max_size=12))
@effort(100)
def test_lines_before_the_delimiter_can_still_be_looked_at(places: list[int]) -> None:
    """S2-25F. A long one, and the half line that the delimiter cut off, are not among them."""
    reader = ReplyReader(LIMIT)
    reader.skip_to_delimiter()
    long_line = b"x" * (MAX_LATE_BYTES + 1)
    content = b"\n".join([REPLIES[0], long_line, REPLIES[1], b'{"half'])

    lines_of(reader, cut(content + DELIMITER + REPLIES[2] + b"\n", places))

    dropped = reader.take_dropped()
    assert [line for line in dropped if line in REPLIES] == REPLIES[:2]
    assert all(len(line) <= MAX_LATE_BYTES for line in dropped)
    assert reader.take_dropped() == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not JSON",
        b"[1]",
        b"null",
        b"{}",
        b'{"id": "a-1"}',
        b'{"return": 1, "error": {"class": "x", "desc": "y"}}',
        b'{"error": "a text"}',
        b'{"id": ' + b"9" * 10_000 + b', "return": 1}',
        b'{"id": ' + b"[" * 100_000,
        b'\xff{"return": 1}',
    ],
)
def test_what_is_no_reply_is_refused(line: bytes) -> None:
    """S2-25F."""
    with pytest.raises(ValueError, match="not a reply"):
        decode_reply(line)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request("guest-ping"), {"execute": "guest-ping", "id": "i"}),
        (
            Request("guest-exec", GuestExec(path="/bin/cat", input_data=b"\x00\xff", capture_output=True)),
            {
                "execute": "guest-exec",
                "arguments": {"path": "/bin/cat", "input-data": "AP8=", "capture-output": True},
                "id": "i",
            },
        ),
    ],
)
def test_request_is_one_line_of_json_with_its_id(request_: Request, expected: dict[str, Any]) -> None:
    """S2-13, S2-15."""
    line = encode_request(request_, "i")

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == expected
