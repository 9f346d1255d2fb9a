"""Whatever an agent of agent_service sends, its link takes it or refuses it with a reason: nothing else comes out."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.core.clock import ManualClock
from quarterdeck.gateway.foreign.agent_service import AgentServiceConversation, _Proof, _Wire
from tests.conformance.handpacked import integer, nested, octets, pack, text
from tests.fuzz.damage import damaged
from tests.unit.gateway.foreign.recording import RecordingDesk, SentFrames, written_command

_WORDS = [
    nested(2, text(2, "1.2.3")),
    nested(3, octets(1, b"\xff")),
    nested(13, text(1, "c-1"), integer(2, 1), octets(3, b"\xff\x00"), integer(4, -1)),
    nested(13, text(1, "c-1"), integer(2, 2**31), octets(3, b"x"), integer(4, 2**62)),
    nested(14, text(1, "c-1"), integer(2, 2), integer(3, -(2**31)), text(4, "not found")),
    nested(14, text(1, "c-1"), integer(2, 77)),
    nested(16, text(1, "c-1")),
    nested(99),
]
_FRAMES = [pack(integer(1, 1), integer(9, 7), text(10, "s3cret"), word) for word in _WORDS]


@given(st.lists(st.one_of(st.sampled_from(_FRAMES), damaged(_FRAMES)), max_size=6), st.booleans())
def test_link_takes_or_refuses_whatever_comes(frames: list[bytes], stopping: bool) -> None:
    """S1-4, S4-36"""
    asyncio.run(_spoken(frames, stopping))


async def _spoken(frames: list[bytes], stopping: bool) -> None:
    command = written_command(timeout_ms=1000)
    command.stop_asked = stopping
    desk = RecordingDesk(command)
    record = AgentRecord(tenant="acme", agent_id="a1", name="a1", aliases={"agent_service": "7"})
    conversation = AgentServiceConversation(record, _Proof(7, b"s3cret"), _Wire(SentFrames()), ManualClock())
    conversation.bind(desk)
    await conversation.write_order(command)
    for frame in frames:
        try:
            await conversation.take(frame)
        except LinkRefused as refusal:
            assert refusal.reason in {LinkEnd.UNDECODABLE, LinkEnd.PROTOCOL, LinkEnd.UNAUTHENTICATED}
            break
    assert sum(kind == "finished" for kind, *_ in desk.told) <= 1
