"""What the QUIC gateway accepts from its connections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.limits import MAX_FRAME_BYTES
from quarterdeck.quic_gateway.handlers import MAX_WAITING_BYTES, FrameIntake
from quarterdeck.wire.framing import FrameError, encode


def drained(intake: FrameIntake) -> list[bytes]:
    frames = []
    while (frame := intake.take()) is not None:
        frames.append(frame)
    return frames


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.integers(1, 20))
def test_frames_come_out_however_the_stream_was_cut(frames: list[bytes], piece_bytes: int) -> None:
    intake, stream = FrameIntake(1), b"".join(map(encode, frames))

    for at in range(0, len(stream), piece_bytes):
        intake.feed(1, stream[at : at + piece_bytes])

    assert drained(intake) == frames


def test_second_stream_is_refused() -> None:
    with pytest.raises(LinkRefused) as refusal:
        FrameIntake(1).feed(0, b"x")

    assert refusal.value.reason == "protocol"


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_impossible_length_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(FrameError):
        FrameIntake(1).feed(1, length.to_bytes(4))


def test_more_than_anybody_may_send_is_an_overflow() -> None:
    intake, frame = FrameIntake(1), encode(b"x" * MAX_FRAME_BYTES)

    with pytest.raises(LinkRefused) as refusal:
        for _ in range(MAX_WAITING_BYTES // MAX_FRAME_BYTES + 1):
            intake.feed(1, frame)

    assert refusal.value.reason == "overflow"


def test_frames_that_were_taken_make_room() -> None:
    intake, frame = FrameIntake(1), encode(b"x" * MAX_FRAME_BYTES)

    for _ in range(3 * MAX_WAITING_BYTES // MAX_FRAME_BYTES):
        intake.feed(1, frame)
        assert intake.take() is not None
