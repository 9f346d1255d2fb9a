"""Guests that an agent announces while it is linked: in its record, on the feed, and no more often than need be."""

import asyncio
from typing import Any

import msgspec

from quarterdeck.core.registry.keys import agent_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import House
from tests.integration.gateway.peer import Peer


async def _announce(peer: Peer, *guests: str) -> None:
    await peer.say(pb.AgentMessage(guest_list=pb.GuestList(guests=guests)))


def _recorded(house: House) -> tuple[str, ...]:
    entry = house.registry.agents.current.get(agent_key("acme", "hv1"))
    return entry.value.guests if entry is not None else ()


async def _events(house: House, count: int) -> list[dict[str, Any]]:
    """The first `count` that tell of changed guests."""
    found: list[dict[str, Any]] = []
    subject = "qd.event.acme.*.*.agent.guests_changed"
    async with asyncio.timeout(10):
        async for messages in house.bus.read("QD_FEED", [subject], follow=True):
            found += [msgspec.json.decode(message.body) for message in messages]
            if len(found) >= count:
                return found
    raise AssertionError("the feed ended")


async def test_guests_are_in_the_agents_record_from_its_hello_on(house: House) -> None:
    """S2-23F"""
    secret = await house.join_token()

    await house.call("hv1").open(join_secret=secret, hello=pb.Hello(guests=["vm2", "vm1", "vm2"]))

    await eventually(lambda: _recorded(house) == ("vm1", "vm2"))


async def test_guests_that_come_and_go_are_recorded_and_told(house: House) -> None:
    """S2-23F"""
    peer = await house.agent("hv1")

    await _announce(peer, "vm2", "vm1")
    await eventually(lambda: _recorded(house) == ("vm1", "vm2"))
    await _announce(peer, "vm2")
    await eventually(lambda: _recorded(house) == ("vm2",))

    first, second = await _events(house, 2)
    assert [event["data"]["guests"] for event in (first, second)] == [["vm1", "vm2"], ["vm2"]]
    assert first["id"] != second["id"]
    assert first["aggregateversion"] == peer.epoch.revision


async def test_a_flood_of_lists_costs_a_few_writes_and_ends_with_the_last(house: House) -> None:
    peer = await house.agent("hv1")
    before = await house.registry.agents.get(agent_key("acme", "hv1"))

    for number in range(500):
        await _announce(peer, f"vm{number}")
    await eventually(lambda: _recorded(house) == ("vm499",))

    after = await house.registry.agents.get(agent_key("acme", "hv1"))
    assert before is not None and after is not None
    assert after.revision - before.revision <= 3


async def test_a_name_that_is_no_id_ends_the_link(house: House) -> None:
    peer = await house.agent("hv1")

    await _announce(peer, "vm1", "vm.2")

    assert await peer.hear_end() == "protocol"
    assert _recorded(house) == ()


async def test_more_guests_than_a_record_holds_end_the_link(house: House) -> None:
    peer = await house.agent("hv1")

    await _announce(peer, *(f"vm{number}" for number in range(4097)))

    assert await peer.hear_end() == "protocol"


async def test_the_list_of_a_link_that_was_replaced_changes_nothing(house: House) -> None:
    """The newer link's Hello knows better."""
    first = await house.agent("hv1")
    await _announce(first, "vm1")
    await eventually(lambda: _recorded(house) == ("vm1",))
    await _announce(first, "vm1", "vm2")  # waits for its turn to be written

    await house.call("hv1", first.key).open(hello=pb.Hello(guests=["vm3"]))

    assert await first.hear_end() == "replaced"
    await eventually(lambda: not any(task.get_name() == "guest_list" for task in asyncio.all_tasks()))
    assert _recorded(house) == ("vm3",)
