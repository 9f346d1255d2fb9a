from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.limits import MAX_FRAME_BYTES
from quarterdeck.wire.framing import FrameDecoder, FrameError, encode


@given(
    frames=st.lists(st.binary(min_size=1, max_size=300), max_size=20),
    cuts=st.lists(st.integers(0, 7000), max_size=20),
)
def test_frames_survive_any_cutting_of_the_stream(frames: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode, frames))
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut <= len(stream))})
    decoder = FrameDecoder()

    decoded = [frame for start, end in pairwise(borders) for frame in decoder.feed(stream[start:end])]

    assert decoded == frames
    assert decoder.buffered_bytes == 0


def test_largest_frame_passes() -> None:
    frame = bytes(MAX_FRAME_BYTES)

    assert FrameDecoder().feed(encode(frame)) == [frame]


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_length_out_of_range_is_refused_before_the_frame_arrives(length: int) -> None:
    with pytest.raises(FrameError) as caught:
        FrameDecoder().feed(length.to_bytes(4))

    assert caught.value.length == length


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1])
def test_frame_out_of_range_is_not_encoded(size: int) -> None:
    with pytest.raises(FrameError):
        encode(bytes(size))


@given(st.binary(max_size=2000))
def test_garbage_gives_frames_or_a_frame_error(garbage: bytes) -> None:
    decoder = FrameDecoder()
    try:
        frames = decoder.feed(garbage)
    except FrameError:
        return
    assert sum(4 + len(frame) for frame in frames) + decoder.buffered_bytes == len(garbage)
