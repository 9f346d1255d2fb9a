import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.packer import PACKED_FRAME_BYTES, FramePacker, Lane, PackerFull, join_messages


def heartbeat(at_ms: int) -> bytes:
    return pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=at_ms)).SerializeToString()


def output(size: int) -> bytes:
    return pb.AgentMessage(output=pb.Output(chunk=bytes(size))).SerializeToString()


def kinds(frame: bytes | None) -> list[str | None]:
    assert frame is not None
    return [message.WhichOneof("body") for message in pb.AgentFrame.FromString(frame).messages]


@given(st.lists(st.binary(max_size=40_000), max_size=10))
def test_joined_messages_are_what_protobuf_would_write(chunks: list[bytes]) -> None:
    frame = pb.AgentFrame(messages=[pb.AgentMessage(output=pb.Output(chunk=chunk)) for chunk in chunks])

    joined = join_messages(message.SerializeToString() for message in frame.messages)

    assert joined == frame.SerializeToString()


def test_control_and_reports_overtake_output() -> None:
    packer = FramePacker(limit_bytes=1_000_000)
    packer.put(output(10), Lane.OUTPUT)
    packer.put(pb.AgentMessage(started=pb.Started(report_seq=1)).SerializeToString(), Lane.REPORT)
    packer.put(heartbeat(1), Lane.CONTROL)

    assert kinds(packer.take()) == ["heartbeat", "started", "output"]


def test_order_within_a_lane_is_kept_across_frames() -> None:
    packer = FramePacker(limit_bytes=10_000_000)
    sent = [pb.AgentMessage(output=pb.Output(offset=n, chunk=bytes(30_000))) for n in range(20)]
    for message in sent:
        packer.put(message.SerializeToString(), Lane.OUTPUT)

    frames = []
    while (frame := packer.take()) is not None:
        frames.append(frame)

    assert [m.output.offset for f in frames for m in pb.AgentFrame.FromString(f).messages] == list(range(20))
    assert all(len(frame) <= PACKED_FRAME_BYTES for frame in frames)
    assert packer.queued_bytes == 0


def test_message_larger_than_a_packed_frame_travels_alone() -> None:
    packer = FramePacker(limit_bytes=10_000_000)
    packer.put(heartbeat(1))
    packer.put(output(PACKED_FRAME_BYTES), Lane.OUTPUT)

    assert kinds(packer.take()) == ["heartbeat"]
    assert kinds(packer.take()) == ["output"]
    assert packer.take() is None


def test_full_packer_takes_nothing_and_says_so() -> None:
    packer = FramePacker(limit_bytes=100)

    with pytest.raises(PackerFull):
        packer.put(output(100))

    assert len(packer) == 0
    assert packer.take() is None
