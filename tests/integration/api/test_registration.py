"""Agents of other protocols over REST: registered under their name there, and revoked."""

import asyncio
import hashlib
from typing import Any

import httpx
import msgspec
import pytest

from quarterdeck.contracts import subjects
from quarterdeck.contracts.agents import AgentIdentity, Dialect
from quarterdeck.contracts.events import CloudEvent
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.registry.keys import agent_key, identity_key
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import TENANT, Deck

IP_MAC = {"ip": "10.0.0.1", "mac": "AA:bb:cc:dd:ee:ff"}


async def register(deck: Deck, agent_id: str, dialect: str, identity: Any, **members: Any) -> httpx.Response:
    body = {"agent_id": agent_id, "dialect": dialect, "identity": identity, **members}
    return await deck.http.post("/api/agents", json=body)


async def identity_of(deck: Deck, dialect: Dialect, identity: str) -> AgentIdentity | None:
    entry = await deck.registry.tokens.get(identity_key(dialect, identity))
    if entry is None:
        return None
    assert isinstance(entry.value, AgentIdentity)
    return entry.value


async def test_an_agent_service_agent_gets_a_secret_of_which_only_the_hash_is_kept(deck: Deck) -> None:
    """S4-7, S0-27"""
    answer = await register(deck, "web-1", "agent_service", {"vps_db_id": 17}, name="Web one")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["success"], body["agent"]["name"]) == (True, "Web one")
    assert body["agent"]["aliases"] == {"agent_service": "17"}
    stored = await identity_of(deck, Dialect.AGENT_SERVICE, "17")
    assert stored is not None
    assert (stored.tenant, stored.agent_id) == (TENANT, "web-1")
    assert stored.secret_sha256 == hashlib.sha256(body["secret"].encode()).digest()

    async def listed() -> bool:
        return (await deck.http.get("/api/agents/web-1")).status_code == 200

    await eventually(listed)
    shown = (await deck.http.get("/api/agents/web-1")).text
    assert body["secret"] not in shown
    assert stored.secret_sha256.hex() not in shown


@pytest.mark.parametrize(
    ("dialect", "identity", "alias"),
    [
        ("deepflow", IP_MAC, "10.0.0.1-aa:bb:cc:dd:ee:ff"),
        ("quicflow", {"client_id": "client-001"}, "client-001"),
    ],
)
async def test_agents_without_secrets_are_known_by_their_name(
    deck: Deck, dialect: str, identity: Any, alias: str
) -> None:
    """S1-28"""
    answer = await register(deck, "a1", dialect, identity)
    assert answer.status_code == 201
    assert answer.json()["agent"]["aliases"] == {dialect: alias}
    assert "secret" not in answer.json()
    assert await identity_of(deck, Dialect(dialect), alias) is not None


async def test_the_same_request_again_is_the_same_agent_with_a_new_secret(deck: Deck) -> None:
    """S1-28"""
    first = (await register(deck, "web-1", "agent_service", {"vps_db_id": 17})).json()
    second = (await register(deck, "web-1", "agent_service", {"vps_db_id": 17}, name="renamed")).json()
    assert second["agent"] == {**first["agent"], "name": "renamed"}
    assert second["secret"] != first["secret"]
    stored = await identity_of(deck, Dialect.AGENT_SERVICE, "17")
    assert stored is not None
    assert stored.secret_sha256 == hashlib.sha256(second["secret"].encode()).digest()


async def test_a_name_or_an_id_that_another_agent_has_is_a_conflict(deck: Deck) -> None:
    """S1-26, S1-28"""
    await deck.agent("native-1")
    await register(deck, "a1", "quicflow", {"client_id": "c1"})
    taken = await register(deck, "a2", "quicflow", {"client_id": "c1"})
    assert (taken.status_code, taken.json()["code"]) == (409, "identity_taken")
    assert "a1" not in taken.text
    other = await register(deck, "a1", "quicflow", {"client_id": "c2"})
    assert (other.status_code, other.json()["code"]) == (409, "agent_id_taken")
    native = await register(deck, "native-1", "quicflow", {"client_id": "c3"})
    assert (native.status_code, native.json()["code"]) == (409, "agent_id_taken")
    assert await deck.registry.agents.get(agent_key(TENANT, "a2")) is None


async def test_of_many_who_want_one_name_at_once_one_gets_it(deck: Deck) -> None:
    """S1-28"""
    answers = await asyncio.gather(
        *(register(deck, f"a{number}", "quicflow", {"client_id": "c1"}) for number in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    [winner] = [answer.json()["agent"]["agent_id"] for answer in answers if answer.status_code == 201]
    stored = await identity_of(deck, Dialect.QUICFLOW, "c1")
    assert stored is not None and stored.agent_id == winner


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"dialect": "native", "identity": {}}, "dialect"),
        ({"agent_id": "a b"}, "agent_id"),
        ({"name": "x" * 129}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"identity": {"client_id": ""}}, "identity.client_id"),
        ({"identity": {"client_id": "x" * 129}}, "identity.client_id"),
        ({"identity": {"vps_db_id": 1}}, "identity"),
        ({"identity": "client-001"}, "identity"),
        ({"dialect": "agent_service", "identity": {"vps_db_id": 0}}, "identity.vps_db_id"),
        ({"dialect": "agent_service", "identity": {"vps_db_id": 2**31}}, "identity.vps_db_id"),
        ({"dialect": "agent_service", "identity": {"vps_db_id": "17"}}, "identity"),
        ({"dialect": "deepflow", "identity": {"ip": "10.0.0.300", "mac": IP_MAC["mac"]}}, "identity.ip"),
        ({"dialect": "deepflow", "identity": {"ip": "10.0.0.1", "mac": "aa-bb-cc-dd-ee-ff"}}, "identity.mac"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_bad_registrations_name_the_field(deck: Deck, members: dict[str, Any], field: str) -> None:
    """S0-28"""
    good = {"agent_id": "a1", "dialect": "quicflow", "identity": {"client_id": "c1"}}
    answer = await deck.http.post("/api/agents", json={**good, **members})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await deck.registry.agents.get(agent_key(TENANT, "a1")) is None


async def test_a_revoked_agent_is_gone_and_its_id_and_name_are_free(deck: Deck) -> None:
    """S1-28, S0-27"""
    await register(deck, "a1", "quicflow", {"client_id": "c1"})
    answer = await deck.http.delete("/api/agents/a1")
    assert (answer.status_code, answer.content) == (204, b"")

    async def gone() -> bool:
        return (await deck.http.get("/api/agents/a1")).status_code == 404

    await eventually(gone)
    assert await identity_of(deck, Dialect.QUICFLOW, "c1") is None
    subject = subjects.event(TENANT, None, None, "agent", "revoked")
    [told] = await deck.stored(FEED, subject)
    event = msgspec.json.decode(told.body, type=CloudEvent)
    assert event.data == {"agent_id": "a1", "principal": "alice"}
    assert (await register(deck, "a1", "deepflow", IP_MAC)).status_code == 201
    assert (await register(deck, "a2", "quicflow", {"client_id": "c1"})).status_code == 201


async def test_nobody_revokes_an_agent_of_another_tenant(deck: Deck) -> None:
    """S1-26"""
    await deck.token("qd_mallory", tenant="other", principal="mallory")
    await deck.agent("a1")
    mallory = {"Authorization": "Bearer qd_mallory"}

    async def is_open() -> bool:
        return (await deck.http.get("/api/agents", headers=mallory)).status_code == 200

    await eventually(is_open)
    answer = await deck.http.delete("/api/agents/a1", headers=mallory)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_agent")
    entry = await deck.registry.agents.get(agent_key(TENANT, "a1"))
    assert entry is not None and not entry.value.revoked
