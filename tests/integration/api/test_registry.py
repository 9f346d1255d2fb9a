"""Agents, tokens and tickets over REST."""

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts.agents import JoinToken as JoinRecord
from quarterdeck.core.registry.keys import join_token_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire.join_token import JoinToken, secret_hash
from tests.integration.api.deck import Deck, running_api


async def agents(deck: Deck, **params: Any) -> list[Any]:
    body = (await deck.http.get("/api/agents", params=params)).json()
    assert body["success"] is True
    assert body["total"] == len(body["agents"])
    return list(body["agents"])


async def test_agents_are_listed_with_link_labels_and_facts(deck: Deck) -> None:
    """S1-1, S4-23"""
    await deck.agent("a1", labels={"role": "web"}, facts={"os": "linux"}, version="0.1.0", guests=("vm1",))
    await deck.agent("a2", labels={"role": "db"}, linked=False)

    async def loaded() -> bool:
        shown = await agents(deck)
        return len(shown) == 2 and shown[0]["connected"]

    await eventually(loaded)
    first, second = await agents(deck)
    assert (first["agent_id"], first["name"], first["connected"]) == ("a1", "host a1", True)
    assert first["link"]["carrier"] == "grpc"
    assert first["link"]["gateway_id"] == "gw1"
    assert first["link"]["dialect"] == "native"
    assert {"epoch", "since"} <= set(first["link"])
    assert (first["labels"], first["facts"], first["guests"]) == ({"role": "web"}, {"os": "linux"}, ["vm1"])
    assert "public_key" not in first
    assert (second["connected"], second["link"]) == (False, None)
    assert [agent["agent_id"] for agent in await agents(deck, connected="true")] == ["a1"]
    assert [agent["agent_id"] for agent in await agents(deck, label="role=db")] == ["a2"]
    assert [agent["agent_id"] for agent in await agents(deck, label=["role", "role=web"])] == ["a1"]
    assert await agents(deck, label="rack") == []
    one = (await deck.http.get("/api/agents/a1")).json()
    assert one == {"success": True, "agent": first}


async def test_a_new_token_opens_the_api_until_it_is_revoked(deck: Deck) -> None:
    """S0-27"""
    made = await deck.http.post("/api/tokens", json={"principal": "bob", "expires_in_s": 3600})
    assert made.status_code == 201
    token = made.json()
    bob = {"Authorization": f"Bearer {token['token']}"}

    async def status() -> int:
        return (await deck.http.get("/api/agents", headers=bob)).status_code

    async def is_open() -> bool:
        return await status() == 200

    async def is_shut() -> bool:
        return await status() == 401

    await eventually(is_open)
    listed = (await deck.http.get("/api/tokens")).json()
    assert {item["principal"] for item in listed["tokens"]} == {"alice", "bob"}
    assert token["token"] not in str(listed)
    answer = await deck.http.delete(f"/api/tokens/{token['token_id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    await eventually(is_shut)
    again = await deck.http.delete(f"/api/tokens/{token['token_id']}")
    assert (again.status_code, again.json()["field"]) == (404, "token_id")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "principal"),
        ({"principal": "a b"}, "principal"),
        ({"principal": "b", "expires_in_s": 0}, "expires_in_s"),
        ({"principal": "b", "expires_in_s": 253_402_300_800}, "expires_in_s"),
        ({"principal": "b", "expires_in_s": 2**63 - 1}, "expires_in_s"),
        ({"principal": "b", "expires_in_s": 10**25}, "expires_in_s"),
    ],
)
async def test_bad_token_requests_name_the_field_and_leave_nothing_behind(
    deck: Deck, body: dict[str, Any], field: str
) -> None:
    """S0-28"""
    before = (await deck.http.get("/api/tokens")).json()
    answer = await deck.http.post("/api/tokens", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    listed = await deck.http.get("/api/tokens")
    assert (listed.status_code, listed.json()) == (200, before)


async def test_join_tokens_carry_the_ca_and_only_their_hash_is_stored(deck: Deck, tmp_path: Path) -> None:
    """S1-28"""
    der = b"not a real certificate, but bytes"
    ca = tmp_path / "ca.pem"
    ca.write_text(ssl.DER_cert_to_PEM_cert(der))
    settings = ApiSettings(port=0, port_file=tmp_path / "second", ca_path=ca)
    async with running_api(deck, settings) as client:
        ask = {"ttl_s": 60, "uses": 5, "labels": {"rack": "7"}}
        answer = await client.post("/api/tokens/join", json=ask)
        empty = await client.post("/api/tokens/join")
        bad = await client.post("/api/tokens/join", json={"uses": 0})
    assert (answer.status_code, empty.status_code) == (201, 201)
    assert (bad.status_code, bad.json()["field"]) == (422, "uses")
    token = JoinToken.parse(answer.json()["join_token"])
    assert token.ca_der == der
    entry = await deck.registry.tokens.get(join_token_key(secret_hash(token.secret)))
    assert entry is not None
    assert isinstance(entry.value, JoinRecord)
    assert (entry.value.uses_left, entry.value.labels) == (5, {"rack": "7"})
    without = await deck.http.post("/api/tokens/join", json={})
    assert (without.status_code, without.json()["code"]) == (422, "unsupported_value")


async def test_tickets_are_no_key_to_the_api(deck: Deck) -> None:
    """S0-27"""
    made = await deck.http.post("/api/tickets")
    assert (made.status_code, made.json()["expires_in_s"]) == (201, 30)
    async with httpx.AsyncClient(base_url=deck.url) as stranger:
        answer = await stranger.get("/api/agents", params={"ticket": made.json()["ticket"]})
        bearer = {"Authorization": f"Bearer {made.json()['ticket']}"}
        assert answer.status_code == 401
        assert (await stranger.get("/api/agents", headers=bearer)).status_code == 401
