"""Who gets a link, and what the registry says of it afterwards."""

import asyncio
from typing import Any

import msgspec
import pytest

from quarterdeck.contracts.links import Epoch, LinkEnd
from quarterdeck.core.registry.keys import agent_key, gateway_key, join_token_key, link_key
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import AgentKey
from quarterdeck.wire.join_token import secret_hash
from tests.integration.gateway.conftest import Build, House


async def test_new_agent_enrols_and_is_welcomed_with_its_epoch(house: House) -> None:
    """S1-1, S1-28"""
    secret = await house.join_token(labels={"site": "hamburg"})
    hello = pb.Hello(version="1.2", labels={"site": "elsewhere", "role": "db"}, facts={"os": "linux"})

    peer = await house.call("a1").open(join_secret=secret, hello=hello)

    link = await house.registry.links.get(link_key("acme", "a1"))
    assert link is not None
    assert link.value.gateway_id == house.settings.gateway_id
    assert link.value.ended_at_ms is None
    assert Epoch(peer.epoch.incarnation, peer.epoch.revision) == Epoch(
        house.registry.links.incarnation, link.revision
    )
    agent = await house.registry.agents.get(agent_key("acme", "a1"))
    assert agent is not None
    assert agent.value.labels == {"site": "hamburg", "role": "db"}, "bound labels win"
    assert agent.value.public_key == peer.key.public_key
    assert agent.value.version == "1.2"


async def test_known_agent_needs_no_token(house: House) -> None:
    first = await house.agent("a1")
    await first.wire.close("test")  # type: ignore[attr-defined]

    second = await house.call("a1", first.key).open()

    assert second.epoch.revision > first.epoch.revision


async def test_agent_record_is_written_only_when_the_agent_changed(house: House) -> None:
    first = await house.agent("a1")
    before = await house.registry.agents.get(agent_key("acme", "a1"))
    await first.wire.close("test")  # type: ignore[attr-defined]

    await house.call("a1", first.key).open()

    assert await house.registry.agents.get(agent_key("acme", "a1")) == before


@pytest.mark.parametrize(
    "token", [{"expires_at_ms": 1}, {"uses_left": 0}, None], ids=["expired", "used_up", "unknown"]
)
async def test_token_that_is_not_good_enrols_nobody(house: House, token: dict[str, Any] | None) -> None:
    """S1-28"""
    secret = "wrong" * 8 if token is None else await house.join_token(**token)

    peer = house.call("a1")
    await peer.enrol(secret, (await peer.hear("challenge")).challenge.nonce)

    assert await peer.hear_end() == "join_token_invalid"
    assert await house.registry.agents.get(agent_key("acme", "a1")) is None


async def test_token_is_used_at_most_as_often_as_it_says(house: House) -> None:
    """Also when many agents come with it at once."""
    secret = await house.join_token(uses_left=3)

    async def join(agent_id: str) -> str:
        peer = house.call(agent_id)
        await peer.enrol(secret, (await peer.hear("challenge")).challenge.nonce)
        return (await peer.hear("enrolled", "goodbye")).WhichOneof("body") or ""

    outcomes = await asyncio.gather(*(join(f"a{number}") for number in range(8)))

    assert sorted(outcomes) == ["enrolled"] * 3 + ["goodbye"] * 5
    token = await house.registry.tokens.get(join_token_key(secret_hash(secret)))
    assert token is not None
    assert token.value.uses_left == 0  # type: ignore[union-attr]


async def test_repeated_enrolment_of_the_same_key_spends_nothing(house: House) -> None:
    """The agent may have missed our answer."""
    secret = await house.join_token(uses_left=1)
    first = await house.call("a1").open(join_secret=secret)

    await house.call("a1", first.key).open(join_secret=secret)


async def test_agent_id_of_another_key_is_refused(house: House) -> None:
    await house.agent("a1")

    peer = house.call("a1")
    await peer.enrol(await house.join_token(), (await peer.hear("challenge")).challenge.nonce)

    assert await peer.hear_end() == "identity_conflict"


async def test_wrong_key_is_refused(house: House) -> None:
    await house.agent("a1")

    peer = house.call("a1", AgentKey.generate())
    await peer.greet((await peer.hear("challenge")).challenge.nonce)

    assert await peer.hear_end() == "unauthenticated"


async def test_proof_over_another_nonce_is_refused(house: House) -> None:
    """A recorded Hello is worth nothing on the next link."""
    first = await house.agent("a1")

    peer = house.call("a1", first.key)
    await peer.hear("challenge")
    await peer.greet(b"n" * 32)

    assert await peer.hear_end() == "unauthenticated"


async def test_revoked_agent_is_refused_and_its_link_closed(house: House) -> None:
    peer = await house.agent("a1")
    await _revoke(house, "a1")

    assert await peer.hear_end() == "revoked"
    again = house.call("a1", peer.key)
    await again.greet((await again.hear("challenge")).challenge.nonce)
    assert await again.hear_end() == "revoked"


async def test_revoked_id_may_enrol_with_another_key(house: House) -> None:
    peer = await house.agent("a1")
    await _revoke(house, "a1")
    await peer.hear_end()

    await house.agent("a1")


async def _revoke(house: House, agent_id: str) -> None:
    entry = await house.registry.agents.get(agent_key("acme", agent_id))
    assert entry is not None
    await house.registry.agents.put(
        agent_key("acme", agent_id), msgspec.structs.replace(entry.value, revoked=True)
    )


@pytest.mark.parametrize("agent_id", ["a.b", "*", "", "a>b", "x" * 65])
async def test_agent_id_outside_the_pattern_is_refused(house: House, agent_id: str) -> None:
    peer = house.call(agent_id)
    await peer.enrol(await house.join_token(), (await peer.hear("challenge")).challenge.nonce)

    assert await peer.hear_end() == "protocol"


async def test_nothing_but_hello_opens_a_link(house: House) -> None:
    peer = house.call("a1")
    await peer.hear("challenge")
    await peer.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=1)))

    assert await peer.hear_end() == "protocol"


async def test_agent_that_never_says_hello_is_dropped(build: Build) -> None:
    house = await build(opening_timeout_s=0.05)

    house.call("a1")
    async with asyncio.timeout(5):
        await house.served[0]

    assert house.pipes["a1"].other.closed_with is not None


async def test_newer_link_replaces_the_older_one(house: House) -> None:
    """S1-5"""
    older = await house.agent("a1")

    newer = await house.call("a1", older.key).open()

    assert await older.hear_end() == "replaced"
    link = house.gateway.links.find("acme", "a1")
    assert link is not None
    assert link.epoch == Epoch(newer.epoch.incarnation, newer.epoch.revision)
    record = await house.registry.links.get(link_key("acme", "a1"))
    assert record is not None
    assert record.value.ended_at_ms is None, "the end of the older link must not touch the newer one's record"


async def test_newer_link_on_another_gateway_replaces_the_older_one(build: Build) -> None:
    """S1-27"""
    one, two = await build(), await build()
    older = await one.agent("a1")

    await two.call("a1", older.key).open()

    assert await older.hear_end() == "replaced"
    record = await two.registry.links.get(link_key("acme", "a1"))
    assert record is not None
    assert record.value.gateway_id == two.settings.gateway_id
    assert record.value.ended_at_ms is None


async def test_end_of_a_link_is_recorded(house: House) -> None:
    """S1-6"""
    peer = await house.agent("a1")
    ended = asyncio.Event()
    house.registry.links.on_change(lambda _, entry: ended.set() if entry and entry.value.end else None)

    await peer.say(pb.AgentMessage(goodbye=pb.Goodbye(reason="leaving")))

    async with asyncio.timeout(5):
        await ended.wait()
    record = house.registry.links.current[link_key("acme", "a1")].value
    assert record.end == LinkEnd.CLOSED
    assert record.ended_at_ms is not None


async def test_lease_is_taken_at_start_and_given_back_after_the_drain(house: House) -> None:
    """S1-29"""
    key = gateway_key(house.settings.gateway_id)
    lease = await house.registry.gateways.get(key)
    assert lease is not None
    assert not lease.value.draining
    peer = await house.agent("a1")

    await asyncio.gather(house.gateway.drain(), peer.hear("drain"), peer.hear_end())

    assert await house.registry.gateways.get(key) is None
    record = await house.registry.links.get(link_key("acme", "a1"))
    assert record is not None
    assert record.value.end == LinkEnd.DRAINING


async def test_agent_that_leaves_because_it_was_asked_to_is_expected_back(house: House) -> None:
    """Its commands must not become unreachable during a rolling restart."""
    peer = await house.agent("a1")

    async def leave() -> None:
        await peer.hear("drain")
        await peer.say(pb.AgentMessage(goodbye=pb.Goodbye(reason="leaving")))

    await asyncio.gather(house.gateway.drain(), leave())

    record = await house.registry.links.get(link_key("acme", "a1"))
    assert record is not None
    assert record.value.end == LinkEnd.DRAINING


async def test_link_is_refused_while_the_gateway_leaves(house: House) -> None:
    await house.gateway.drain()

    peer = house.call("a1")

    assert await peer.hear_end() == "draining"


async def test_frame_that_does_not_decode_closes_only_its_link(house: House) -> None:
    """S1-4: the others go on."""
    broken, sound = await house.agent("a1"), await house.agent("a2")

    await broken.wire.send(b"\xff\xff\xff")

    assert await broken.hear_end() == "undecodable"
    await sound.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=7)))
    assert (await sound.hear("heartbeat_ack")).heartbeat_ack.at_ms == 7


async def test_silent_link_is_closed(house: House) -> None:
    """S1-3"""
    silent, lively = await house.agent("a1"), await house.agent("a2")
    house.clock.advance(45_000)
    await lively.say(pb.AgentMessage(heartbeat=pb.Heartbeat(at_ms=1)))
    await lively.hear("heartbeat_ack")
    house.clock.advance(45_000)

    for link in house.gateway.links:
        link.check_silence()

    assert await silent.hear_end() == "silent"
    assert house.gateway.links.find("acme", "a2") is not None


async def test_two_tenants_may_use_the_same_agent_id(house: House) -> None:
    """S1-26"""
    await house.agent("a1")
    secret = await house.join_token("o" * 32, tenant="other")

    await house.call("a1", tenant="other").open(join_secret=secret)

    assert len(house.gateway.links) == 2
