"""Who an agent of another protocol is: registered, enrolled at first contact, or turned away and told of."""

import hashlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from quarterdeck.contracts import subjects
from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.events import CloudEvent
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.contracts.streams import FEED
from quarterdeck.core import metrics
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import ManualClock
from quarterdeck.core.registry import AgentIdTaken, ForeignAgents, IdentityTaken, Registry
from quarterdeck.core.registry.keys import agent_key, identity_key
from quarterdeck.core.runtime import TaskSet
from quarterdeck.gateway.agent_events import AgentEvents
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.testing.eventually import eventually

PEER = "10.0.0.9:4711"
TENANT = "acme"


class Door:
    """Admission over a real registry, and what the world hears of it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.clock = ManualClock()
        self.tasks = TaskSet()
        self.registry = Registry(bus)
        self.agents = ForeignAgents(self.registry)
        self.strict = self.admission(admit=False)
        self.open = self.admission(admit=True)

    def admission(self, *, admit: bool) -> Admission:
        events = AgentEvents(self.bus, self.tasks)
        return Admission(self.registry, self.clock, events, admit=admit, tenant=TENANT)

    async def register(self, agent_id: str, dialect: Dialect, identity: str, secret: bytes = b"") -> None:
        digest = hashlib.sha256(secret).digest() if secret else b""
        await self.agents.register(_record(agent_id, dialect, identity), digest)

    async def events(self, type_: str = "agent.refused") -> list[CloudEvent]:
        entity, _, verb = type_.partition(".")
        subject = subjects.event(TENANT, None, None, entity, verb)
        return [
            msgspec.json.decode(message.body, type=CloudEvent)
            async for messages in self.bus.read(FEED, [subject], follow=False)
            for message in messages
        ]

    async def refused(
        self, admission: Admission, dialect: Dialect, identity: str, secret: bytes | None = None
    ) -> str:
        with pytest.raises(LinkRefused) as refusal:
            await admission.known(dialect, identity, peer=PEER, secret=secret)
        return refusal.value.reason


def _record(agent_id: str, dialect: Dialect, identity: str, tenant: str = TENANT) -> AgentRecord:
    return AgentRecord(tenant=tenant, agent_id=agent_id, name=agent_id, aliases={dialect: identity})


@pytest.fixture
async def door(bus: Bus) -> AsyncIterator[Door]:
    door = Door(bus)
    yield door
    await door.tasks.close()
    await door.registry.close()


async def test_a_registered_agent_is_known_by_its_name_and_secret(door: Door) -> None:
    """S1-28, S4-7"""
    await door.register("web-1", Dialect.AGENT_SERVICE, "17", b"hush")
    record = await door.strict.known(Dialect.AGENT_SERVICE, "17", peer=PEER, secret=b"hush")
    assert (record.tenant, record.agent_id, record.dialect) == (TENANT, "web-1", Dialect.AGENT_SERVICE)
    assert await door.events() == []


@pytest.mark.parametrize("secret", [b"hush!", b"", None])
async def test_a_wrong_secret_is_refused_and_told_without_the_secret(
    door: Door, secret: bytes | None
) -> None:
    """S1-28, S0-27"""
    await door.register("web-1", Dialect.AGENT_SERVICE, "17", b"hush")
    assert await door.refused(door.strict, Dialect.AGENT_SERVICE, "17", secret) == LinkEnd.UNAUTHENTICATED
    await eventually(door.events)
    [event] = await door.events()
    assert event.type == "agent.refused"
    assert event.data == {
        "dialect": "agent_service",
        "identity": "17",
        "peer": PEER,
        "reason": "wrong_secret",
        "agent_id": "web-1",
    }
    # Trials let nobody in under a name that has an owner.
    assert await door.refused(door.open, Dialect.AGENT_SERVICE, "17", secret) == LinkEnd.UNAUTHENTICATED


async def test_a_stranger_is_refused_told_once_a_minute_and_always_counted(door: Door) -> None:
    """S1-28, S1-22"""
    counter = metrics.AGENTS_REFUSED.labels("deepflow", "unknown_identity")
    before = counter._value.get()
    name = "10.0.0.1-aa:bb:cc:dd:ee:ff"
    for _ in range(5):
        assert await door.refused(door.strict, Dialect.DEEPFLOW, name) == LinkEnd.UNAUTHENTICATED
    door.clock.advance(61_000)
    await door.refused(door.strict, Dialect.DEEPFLOW, name)

    async def both() -> bool:
        return len(await door.events()) == 2

    await eventually(both)
    first, second = await door.events()
    assert first.data == {
        "dialect": "deepflow",
        "identity": name,
        "peer": PEER,
        "reason": "unknown_identity",
    }
    assert second.data == {**first.data, "unreported": 4}
    assert counter._value.get() == before + 6


async def test_a_flood_of_new_names_does_not_fill_the_feed(door: Door) -> None:
    """S1-19"""
    for number in range(1_100):
        await door.refused(door.strict, Dialect.QUICFLOW, f"c{number}")

    async def told() -> bool:
        return len(await door.events()) == 1_024

    await eventually(told)


@pytest.mark.parametrize(
    ("dialect", "identity", "agent_id"),
    [
        (Dialect.AGENT_SERVICE, "17", "vps-17"),
        (Dialect.DEEPFLOW, "10.0.0.1-aa:bb:cc:dd:ee:ff", "df-10-0-0-1-aa-bb-cc-dd-ee-ff"),
        (Dialect.QUICFLOW, "client-001", "client-001"),
        (Dialect.QUICFLOW, "client.001 é", "client-001"),
    ],
)
async def test_a_trial_enrols_a_stranger_under_an_id_of_ours(
    door: Door, dialect: Dialect, identity: str, agent_id: str
) -> None:
    """S1-28"""
    record = await door.open.known(dialect, identity, peer=PEER)
    again = await door.open.known(dialect, identity, peer=PEER)
    assert (record.agent_id, record.aliases, again) == (agent_id, {dialect: identity}, record)
    entry = await door.registry.agents.get(agent_key(TENANT, agent_id))
    assert entry is not None and entry.value == record


async def test_names_that_make_the_same_id_are_two_agents(door: Door) -> None:
    """S1-28"""
    one = await door.open.known(Dialect.QUICFLOW, "a.b", peer=PEER)
    other = await door.open.known(Dialect.QUICFLOW, "a:b", peer=PEER)
    assert one.agent_id == "a-b"
    assert other.agent_id.startswith("a-b-")
    assert await door.open.known(Dialect.QUICFLOW, "a:b", peer=PEER) == other


async def test_a_trial_keeps_to_the_first_secret_and_one_without_ends_with_the_trial(door: Door) -> None:
    """S0-27"""
    await door.open.known(Dialect.AGENT_SERVICE, "1", peer=PEER, secret=b"mine")
    await door.open.known(Dialect.AGENT_SERVICE, "2", peer=PEER)
    assert await door.refused(door.open, Dialect.AGENT_SERVICE, "1", b"other") == LinkEnd.UNAUTHENTICATED
    assert (
        await door.strict.known(Dialect.AGENT_SERVICE, "1", peer=PEER, secret=b"mine")
    ).agent_id == "vps-1"
    assert await door.refused(door.strict, Dialect.AGENT_SERVICE, "2") == LinkEnd.UNAUTHENTICATED


async def test_a_revoked_agent_is_refused_and_its_id_and_name_are_free(door: Door) -> None:
    """S1-28"""
    await door.register("c1", Dialect.QUICFLOW, "c1")
    revoked = await door.agents.revoke(TENANT, "c1")
    assert revoked is not None and revoked.revoked
    assert await door.registry.tokens.get(identity_key(Dialect.QUICFLOW, "c1")) is None
    assert await door.refused(door.strict, Dialect.QUICFLOW, "c1") == LinkEnd.UNAUTHENTICATED
    await door.register("c1", Dialect.DEEPFLOW, "10.0.0.1-aa:bb:cc:dd:ee:ff")
    await door.register("c2", Dialect.QUICFLOW, "c1")
    assert (await door.strict.known(Dialect.QUICFLOW, "c1", peer=PEER)).agent_id == "c2"


async def test_a_revocation_that_died_half_way_still_refuses(door: Door) -> None:
    """S1-28, S4-33"""
    await door.register("c1", Dialect.QUICFLOW, "c1")
    key = agent_key(TENANT, "c1")
    entry = await door.registry.agents.get(key)
    assert entry is not None
    await door.registry.agents.put(key, msgspec.structs.replace(entry.value, revoked=True))
    assert await door.refused(door.strict, Dialect.QUICFLOW, "c1") == LinkEnd.REVOKED
    await door.register("c2", Dialect.QUICFLOW, "c1")
    assert (await door.strict.known(Dialect.QUICFLOW, "c1", peer=PEER)).agent_id == "c2"


async def test_an_id_and_a_name_belong_to_one_agent_across_tenants(door: Door) -> None:
    """S1-26, S1-28"""
    await door.register("c1", Dialect.QUICFLOW, "c1")
    with pytest.raises(IdentityTaken):
        await door.register("c2", Dialect.QUICFLOW, "c1")
    with pytest.raises(IdentityTaken):
        await door.agents.register(_record("c1", Dialect.QUICFLOW, "c1", tenant="other"))
    with pytest.raises(AgentIdTaken):
        await door.register("c1", Dialect.QUICFLOW, "c9")
    assert await door.registry.agents.get(agent_key(TENANT, "c2")) is None
    assert await door.registry.agents.get(agent_key("other", "c1")) is None
