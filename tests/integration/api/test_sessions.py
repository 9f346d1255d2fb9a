"""Sessions over HTTP: the document's words and statuses, and nobody else's business."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.orders import DispatchChunk
from quarterdeck.contracts.sessions import ANY_AGENT
from quarterdeck.contracts.states import CommandState
from tests.integration.api.deck import Deck

ASK: dict[str, Any] = {"command_type": "CHARACTER_REQUEST", "payload": {"user_input": "创建一个勇敢的主角"}}


async def _session(deck: Deck, **body: Any) -> str:
    answer = await deck.http.post("/api/sessions", json=body)
    assert answer.status_code == 201, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


async def _ask(deck: Deck, session_id: str, **more: Any) -> httpx.Response:
    return await deck.http.post(f"/api/sessions/{session_id}/commands", json={**ASK, **more})


async def test_a_command_is_taken_in_shown_and_done(deck: Deck) -> None:
    """S3-1, S3-2, S3-3, S3-5"""
    session_id = await _session(deck)
    nothing = await deck.http.get(f"/api/sessions/{session_id}/pending-command")
    assert nothing.json() == {"success": True, "command": {"command_id": None}}

    answer = await _ask(deck, session_id, idempotency_key="k")

    assert answer.status_code == 202
    command = answer.json()["command"]
    assert (answer.json()["success"], command["status"], command["round"]) == (True, "RECEIVED", 1)
    assert (command["agent_id"], command["payload"]) == (None, ASK["payload"])
    (chunk,) = await deck.queued()
    assert isinstance(chunk, DispatchChunk)
    assert [(item.command_id, item.agent_id) for item in chunk.items] == [(command["command_id"], ANY_AGENT)]

    again = await _ask(deck, session_id, payload={"user_input": "something else"})
    assert again.json()["command"]["command_id"] == command["command_id"]
    pending = await deck.http.get(f"/api/sessions/{session_id}/pending-command")
    assert pending.json()["command"]["command_id"] == command["command_id"]

    await deck.move(command["command_id"], CommandState.SENT, agent_id="a1", sent_at_ms=1)
    await deck.move(command["command_id"], CommandState.SUCCEEDED, result='{"name":"Ren"}', completed_at_ms=2)
    shown = await deck.http.get(f"/api/sessions/{session_id}/commands/{command['command_id']}")
    done = shown.json()["command"]
    assert (done["status"], done["agent_id"], done["result"]) == ("COMPLETED", "a1", {"name": "Ren"})
    by_key = await _ask(deck, session_id, idempotency_key="k")
    assert by_key.json()["command"] == done


async def test_a_session_of_somebody_else_is_refused_everywhere(deck: Deck) -> None:
    """S3-4, S3-11: before anything is written"""
    session_id = await _session(deck, owner="bob")
    path = f"/api/sessions/{session_id}"

    for answer in (
        await _ask(deck, session_id),
        await deck.http.get(f"{path}/pending-command"),
        await deck.http.get(f"{path}/commands/{new_id()}"),
    ):
        body = answer.json()
        assert (answer.status_code, body["success"], body["code"]) == (403, False, "session_access_denied")
        assert answer.headers["content-type"] == "application/problem+json"
    assert await deck.store.rounds(session_id) == []
    assert await deck.queued() == []


async def test_a_session_of_another_tenant_does_not_exist(deck: Deck) -> None:
    """I11"""
    session_id = new_id()
    await deck.store.create_session("other", session_id, "alice", 1)

    assert (await _ask(deck, session_id)).status_code == 404
    assert (await _ask(deck, str(uuid.uuid4()))).status_code == 404


async def test_a_command_is_shown_in_its_own_session_only(deck: Deck) -> None:
    """S3-4"""
    one, two = await _session(deck), await _session(deck)
    command_id = (await _ask(deck, one)).json()["command"]["command_id"]

    answer = await deck.http.get(f"/api/sessions/{two}/commands/{command_id}")

    assert answer.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b'{"command_type":"a b"}',
        b'{"command_type":"a","payload":1,"colour":2}',
        b'{"command_type":"a","idempotency_key":"\\n"}',
        b'{"command_type":7}',
        b'{"command_type":"a","payload":1e999}',
        b'{"command_type":"a","payload":1e999,"idempotency_key":"k"}',
    ],
)
async def test_what_is_not_understood_is_400(deck: Deck, body: bytes) -> None:
    """S3-11, S3-12"""
    session_id = await _session(deck)

    answer = await deck.http.post(f"/api/sessions/{session_id}/commands", content=body)

    problem = answer.json()
    assert (answer.status_code, problem["success"], problem["code"]) == (400, False, "session_input_invalid")
    assert problem["error"]
    assert await deck.store.rounds(session_id) == []


async def test_a_session_id_that_is_none_is_400(deck: Deck) -> None:
    """S3-11"""
    assert (await deck.http.get("/api/sessions/x/pending-command")).status_code == 400


async def test_a_key_with_another_body_is_409(deck: Deck) -> None:
    """S3-5, S3-11"""
    session_id = await _session(deck)
    await _ask(deck, session_id, idempotency_key="k")

    answer = await _ask(deck, session_id, idempotency_key="k", command_type="other")
    two_keys = await deck.http.post(
        f"/api/sessions/{session_id}/commands",
        json={**ASK, "idempotency_key": "a"},
        headers={"Idempotency-Key": "b"},
    )

    assert (answer.status_code, answer.json()["success"]) == (409, False)
    assert two_keys.status_code == 400


async def test_posts_at_once_make_one_command(deck: Deck) -> None:
    """S3-5, S3-7"""
    session_id = await _session(deck)

    answers = await asyncio.gather(*(_ask(deck, session_id) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["command"]["command_id"] for answer in answers}) == 1
    assert len(await deck.store.rounds(session_id)) == 1
    assert len(await deck.queued()) == 1


async def test_a_policy_holds_for_sessions_too(deck: Deck) -> None:
    """S0-29"""
    session_id = await _session(deck)
    await deck.http.put("/api/policy", json={"allowed": ["greet"], "cached": {}})

    answer = await _ask(deck, session_id)

    assert (answer.status_code, answer.json()["success"]) == (403, False)
    assert answer.json()["code"] == "command_not_allowed"
    foreign = await _ask(deck, await _session(deck, owner="bob"))
    assert foreign.json()["code"] == "session_access_denied"  # S3-4: access comes first
    assert (await _ask(deck, session_id, command_type="greet")).status_code == 202
