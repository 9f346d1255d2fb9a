"""What an agent hears before the bus has its word: nothing. Until then it keeps it, and may tell another gateway."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from quarterdeck.core.bus import Ack, Outgoing
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import House
from tests.integration.gateway.peer import Peer


async def _says_nothing_yet(peer: Peer, kind: str) -> bool:
    """Answers of one link are in order: what was to be said before the heartbeat was answered has been said."""
    await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=1)))
    await peer.hear("heartbeat_ack")
    return not peer.heard(kind)


async def test_no_report_is_acknowledged_before_the_bus_has_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1"""
    peer = await house.agent("a1")
    await house.order((peer, "c1"))
    order = (await peer.hear("order")).order
    publish, asked, answer = house.bus.publish_many, asyncio.Event(), asyncio.Event()

    async def slowly(messages: Sequence[Outgoing], *more: Any) -> list[Ack]:
        asked.set()
        await answer.wait()
        return await publish(messages, *more)

    monkeypatch.setattr(house.bus, "publish_many", slowly)

    await peer.say(peer.accepted(order), peer.result(order))
    await asked.wait()

    assert await _says_nothing_yet(peer, "report_ack")
    answer.set()
    await peer.hear("report_ack")


async def test_no_output_is_acknowledged_before_the_bus_has_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4"""
    peer = await house.agent("a1")
    await house.order((peer, "c1"))
    order = (await peer.hear("order")).order
    publish_soon, held = house.bus.publish_soon, []

    def later(outgoing: Outgoing, *more: Any) -> asyncio.Future[Ack]:
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        held.append((outgoing, future))
        return future

    monkeypatch.setattr(house.bus, "publish_soon", later)

    await peer.say(peer.output(order, 0, b"first"))

    assert await _says_nothing_yet(peer, "output_ack")
    assert len(held) == 1
    for outgoing, future in held:
        future.set_result(await publish_soon(outgoing))
    assert (await peer.hear("output_ack")).output_ack.offset == len(b"first")
