"""Many streams as one sequence of frames: cut, bounded, and packed for a carrier of plain frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.errors import DecodeError, LinkRefused
from quarterdeck.wire.framing import FrameError, encode
from quarterdeck.wire.quicflow import MAX_FRAME_BYTES
from quarterdeck.wire.quicflow_streams import (
    MAX_UNFINISHED_STREAMS,
    MAX_WAITING_BYTES,
    StreamFrame,
    StreamIntake,
)


def taken(intake: StreamIntake) -> list[StreamFrame]:
    frames = []
    while (received := intake.take()) is not None:
        frames.append(received)
    return frames


def framed(frame: bytes) -> bytes:
    return encode(frame, MAX_FRAME_BYTES)


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=8), st.integers(1, 9))
def test_frames_come_out_however_their_streams_were_cut_and_mixed(frames: list[bytes], piece: int) -> None:
    """S0-10: each frame on a stream of its own, the pieces of all of them in turns."""
    intake = StreamIntake()
    streams = [framed(frame) for frame in frames]

    for at in range(0, max(map(len, streams)), piece):
        for number, stream in enumerate(streams):
            if at < len(stream):
                intake.feed(4 * number, stream[at : at + piece], fin=at + piece >= len(stream))

    assert sorted(taken(intake)) == sorted(
        StreamFrame(4 * number, frame) for number, frame in enumerate(frames)
    )


def test_one_byte_at_a_time_works() -> None:
    intake = StreamIntake()

    for octet in framed(b"x" * 1000):
        intake.feed(0, bytes([octet]))

    assert taken(intake) == [StreamFrame(0, b"x" * 1000)]


def test_frames_of_the_greatest_size_pass() -> None:
    intake = StreamIntake()

    intake.feed(0, framed(b"x" * MAX_FRAME_BYTES), fin=True)

    assert [len(received.frame) for received in taken(intake)] == [MAX_FRAME_BYTES]


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_impossible_length_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(FrameError):
        StreamIntake().feed(0, length.to_bytes(4))


def test_stream_that_ends_inside_a_frame_is_an_error() -> None:
    with pytest.raises(DecodeError):
        StreamIntake().feed(0, framed(b"abc")[:-1], fin=True)


def test_stream_that_was_reset_leaves_nothing() -> None:
    intake = StreamIntake()

    for number in range(3 * MAX_WAITING_BYTES // MAX_FRAME_BYTES):
        intake.feed(4 * number, framed(b"x" * MAX_FRAME_BYTES)[:-1])
        intake.reset(4 * number)

    assert taken(intake) == []


def test_frames_that_were_taken_make_room() -> None:
    intake = StreamIntake()

    for number in range(3 * MAX_WAITING_BYTES // MAX_FRAME_BYTES):
        intake.feed(4 * number, framed(b"x" * MAX_FRAME_BYTES))
        assert len(taken(intake)) == 1


def test_more_than_anybody_takes_is_an_overflow() -> None:
    """I9"""
    intake = StreamIntake()

    with pytest.raises(LinkRefused) as refusal:
        for number in range(3):
            intake.feed(4 * number, framed(b"x" * MAX_FRAME_BYTES)[:-1])

    assert refusal.value.reason == "overflow"


def test_flood_of_tiny_frames_is_an_overflow_too() -> None:
    """I9: what a frame costs besides its bytes counts."""
    intake, piece = StreamIntake(), framed(b"x") * 1000

    with pytest.raises(LinkRefused):
        for _ in range(MAX_WAITING_BYTES // 100_000):
            intake.feed(0, piece)


def test_streams_that_stop_inside_a_frame_are_counted() -> None:
    """I9"""
    intake = StreamIntake()

    with pytest.raises(LinkRefused):
        for number in range(MAX_UNFINISHED_STREAMS + 1):
            intake.feed(4 * number, b"\x00")


@given(st.integers(0, 2**62 - 1), st.binary(max_size=20), st.booleans(), st.booleans())
def test_packing_loses_nothing(stream_id: int, frame: bytes, fin: bool, stop: bool) -> None:
    sent = StreamFrame(stream_id, frame, fin, stop)

    assert StreamFrame.unpack(sent.pack()) == sent


def test_what_was_not_packed_is_refused() -> None:
    with pytest.raises(DecodeError):
        StreamFrame.unpack(b"12345678")
