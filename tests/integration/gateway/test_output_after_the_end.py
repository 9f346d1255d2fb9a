"""Output of an agent of ours that comes after the result said how much there is."""

import pytest

from quarterdeck.core import metrics
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import House
from tests.integration.gateway.test_output import acknowledged, end_of, finished, ordered, stored


async def test_output_after_the_result_is_fenced(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """I4: in the result's own frame, before it is stored, and after; what was promised and is missing still comes."""
    peer, order = await ordered(house)
    before = metrics.FENCED_MESSAGES.labels("native")._value.get()
    result = peer.result(order, end_of(b"hello world"))

    await peer.say(peer.output(order, 0, b"hello "), result, peer.output(order, 11, b" and more"))
    await acknowledged(peer, 6)
    await peer.say(peer.output(order, 6, b"world"), peer.output(order, 6, b"world and more"))
    end = await finished(house)
    await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=1)))
    await peer.hear("heartbeat_ack")

    assert (end.stdout.length, end.stdout.stored_sha256) == (11, end.stdout.sha256)
    assert b"".join(m.body for m in await stored(house)) == b"hello world"
    assert metrics.FENCED_MESSAGES.labels("native")._value.get() == before + 2
    assert capsys.readouterr().out.count("gateway.message_fenced") == 1
