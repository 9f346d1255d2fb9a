"""Single commands over REST: seed 0's bodies, states and errors."""

import asyncio
from typing import Any

import msgspec
import pytest
import structlog

from quarterdeck.contracts.commands import TimeoutClock
from quarterdeck.contracts.events import CloudEvent
from quarterdeck.contracts.orders import DispatchChunk, TerminateRequest
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from tests.integration.api.deck import TENANT, Deck

ASK: dict[str, Any] = {
    "client_id": "client-001",
    "command_type": "restart",
    "payload": {"delay_seconds": 5},
    "timeout": 30,
}


async def submit(deck: Deck, **changes: Any) -> str:
    answer = await deck.http.post("/api/command", json={**ASK, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["command_id"])


async def test_submitting_answers_seed_0_body_and_queues_a_dispatch(deck: Deck) -> None:
    """S0-1, S0-10"""
    await deck.agent("client-001")
    answer = await deck.http.post("/api/command", json=ASK)
    assert answer.status_code == 202
    body = answer.json()
    assert list(body) == ["success", "command_id", "message"]
    assert body["success"] is True
    assert body["message"] == "Command sent successfully"
    (chunk,) = await deck.queued()
    assert isinstance(chunk, DispatchChunk)
    assert [item.command_id for item in chunk.items] == [body["command_id"]]
    assert chunk.spec.timeout_ms == 30_000
    assert chunk.spec.timeout_from is TimeoutClock.CREATION
    (event,) = [msgspec.json.decode(m.body, type=CloudEvent) for m in await deck.stored(FEED)]
    assert event.type == "command.accepted"
    assert event.data["spec"]["payload"] == '{"delay_seconds":5}'
    assert event.data["user_id"] == "alice"


async def test_a_fresh_command_shows_seed_0_members_and_omits_empty_ones(deck: Deck) -> None:
    """S0-2, S0-4, S0-5"""
    await deck.agent("client-001")
    command_id = await submit(deck)
    body = (await deck.http.get(f"/api/command/{command_id}")).json()
    assert list(body) == ["success", "command"]
    command = body["command"]
    assert command["command_id"] == command_id
    assert command["client_id"] == "client-001"
    assert command["command_type"] == "restart"
    assert command["payload"] == {"delay_seconds": 5}
    assert command["status"] == "pending"
    assert command["timeout"] == 30_000_000_000
    assert command["created_at"].endswith("Z")
    assert not {"result", "error", "sent_at", "completed_at"} & set(command)


@pytest.mark.parametrize(
    ("road", "status", "error"),
    [
        ([S.SENT], "pending", None),
        ([S.SENT, S.ACCEPTED], "executing", None),
        ([S.SENT, S.EXECUTING], "executing", None),
        ([S.SENT, S.EXECUTING, S.SUCCEEDED], "completed", None),
        ([S.SENT, S.EXECUTING, S.FAILED], "failed", "exit status 3"),
        ([S.SENT, S.TIMED_OUT], "timeout", "promise timeout"),
        ([S.SENT, S.TERMINATED], "failed", "terminated"),
        ([S.UNREACHABLE], "failed", "client not connected: client-001"),
        ([S.SENT, S.OUTCOME_UNKNOWN], "failed", "outcome unknown"),
    ],
)
async def test_states_show_as_seed_0_statuses(
    deck: Deck, road: list[S], status: str, error: str | None
) -> None:
    """S0-6, S0-18, S0-19, S0-20"""
    await deck.agent("client-001")
    command_id = await submit(deck)
    for state in road:
        fields = {"sent_at_ms": deck.clock.now_ms()} if state is S.SENT else {}
        await deck.move(command_id, state, **fields, **({"exit_code": 3} if state is S.FAILED else {}))
    command = (await deck.http.get(f"/api/command/{command_id}")).json()["command"]
    assert command["status"] == status
    assert command.get("error") == error
    assert ("sent_at" in command) == (S.SENT in road)
    listed = (await deck.http.get("/api/commands", params={"status": status})).json()
    assert [item["command_id"] for item in listed["commands"]] == [command_id]


async def test_a_result_is_shown_as_the_json_it_is(deck: Deck) -> None:
    """S0-5, S0-10"""
    await deck.agent("client-001")
    command_id = await submit(deck)
    await deck.move(command_id, S.SENT)
    await deck.move(
        command_id,
        S.SUCCEEDED,
        result='{"success":true,"message":"Restarted"}',
        completed_at_ms=deck.clock.now_ms(),
    )
    command = (await deck.http.get(f"/api/command/{command_id}")).json()["command"]
    assert command["result"] == {"success": True, "message": "Restarted"}
    assert command["completed_at"].endswith("Z")


async def test_listing_filters_by_client_and_status_and_pages(deck: Deck) -> None:
    """S0-3, S0-8"""
    await deck.agent("client-001", "client-002")
    first = [await submit(deck) for _ in range(3)]
    other = await submit(deck, client_id="client-002")
    await deck.move(first[0], S.SENT)
    await deck.move(first[0], S.SUCCEEDED)
    every = (await deck.http.get("/api/commands")).json()
    assert (every["success"], every["total"], len(every["commands"])) == (True, 4, 4)
    mine = (await deck.http.get("/api/commands?client_id=client-002")).json()
    assert [item["command_id"] for item in mine["commands"]] == [other]
    both = (await deck.http.get("/api/commands?client_id=client-001&status=pending")).json()
    assert (both["total"], {item["command_id"] for item in both["commands"]}) == (2, set(first[1:]))
    page = (await deck.http.get("/api/commands?limit=3")).json()
    rest = (await deck.http.get("/api/commands", params={"limit": 3, "cursor": page["next_cursor"]})).json()
    seen = [item["command_id"] for item in page["commands"] + rest["commands"]]
    assert sorted(seen) == sorted([*first, other])
    assert "next_cursor" not in rest


async def test_a_cursor_of_another_query_is_refused(deck: Deck) -> None:
    """S0-28"""
    await deck.agent("client-001")
    for _ in range(2):
        await submit(deck)
    cursor = (await deck.http.get("/api/commands?limit=1")).json()["next_cursor"]
    answer = await deck.http.get("/api/commands", params={"cursor": cursor, "client_id": "client-001"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        400,
        "invalid_cursor",
        "cursor",
    )
    assert (await deck.http.get("/api/commands?cursor=zzz")).json()["code"] == "invalid_cursor"


async def test_an_unknown_agent_is_404_and_nothing_is_stored(deck: Deck) -> None:
    """S0-18"""
    answer = await deck.http.post("/api/command", json={**ASK, "client_id": "nobody"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["field"], body["success"]) == ("unknown_agent", "client_id", False)
    assert body["error"] == "client not connected: nobody"
    assert await deck.queued() == []
    assert (await deck.http.get("/api/commands")).json()["total"] == 0


async def test_a_gone_agent_is_409_and_the_command_is_recorded_as_unreachable(deck: Deck) -> None:
    """S0-18"""
    await deck.agent("client-001", linked=False)
    answer = await deck.http.post("/api/command", json=ASK)
    assert answer.status_code == 409
    body = answer.json()
    assert (body["code"], body["success"]) == ("agent_unreachable", False)
    assert body["error"] == "client not connected: client-001"
    command = (await deck.http.get(f"/api/command/{body['command_id']}")).json()["command"]
    assert (command["status"], command["error"]) == ("failed", "client not connected: client-001")
    assert await deck.queued() == []


async def test_an_agent_that_lost_its_link_a_moment_ago_gets_its_command(deck: Deck) -> None:
    """S0-37"""
    await deck.agent("client-001")
    await deck.unlink("client-001", ms_ago=2_000)
    await submit(deck)
    await deck.unlink("client-001", ms_ago=20_000)
    assert (await deck.http.post("/api/command", json=ASK)).status_code == 409


async def test_a_command_queues_for_an_agent_that_is_away(deck: Deck) -> None:
    """S0-36"""
    await deck.agent("client-001", linked=False)
    command_id = await submit(deck, queue_for=600)
    assert (await deck.command(command_id)).spec.queue_for_ms == 600_000


async def test_waiting_answers_when_the_command_ends(deck: Deck) -> None:
    """S0-34"""
    await deck.agent("client-001")
    command_id = await submit(deck)
    waiting = asyncio.create_task(deck.http.get(f"/api/command/{command_id}?wait=30"))
    await deck.move(command_id, S.SENT)
    await deck.move(command_id, S.SUCCEEDED)
    assert (await waiting).json()["command"]["status"] == "completed"
    unfinished = await submit(deck)
    answer = await deck.http.get(f"/api/command/{unfinished}?wait=0.2")
    assert answer.json()["command"]["status"] == "pending"


async def test_many_waiters_share_one_consumer(deck: Deck) -> None:
    """S0-9"""
    await deck.agent("client-001")
    commands = [await submit(deck) for _ in range(50)]
    before = (await deck.bus.api.call(f"STREAM.INFO.{FEED}"))["state"]["consumer_count"]
    waiting = [asyncio.create_task(deck.http.get(f"/api/command/{i}?wait=30")) for i in commands]
    first = asyncio.create_task(deck.http.get(f"/api/command/{commands[0]}?wait=30"))
    await deck.move(commands[0], S.SENT)
    await deck.move(commands[0], S.SUCCEEDED)
    await first
    during = (await deck.bus.api.call(f"STREAM.INFO.{FEED}"))["state"]["consumer_count"]
    for command_id in commands[1:]:
        await deck.move(command_id, S.UNREACHABLE)
    answers = await asyncio.gather(*waiting)
    assert during - before <= 1
    assert {answer.json()["command"]["status"] for answer in answers} == {"completed", "failed"}


async def test_terminating_asks_once_and_says_what_became_of_it(deck: Deck) -> None:
    """S4-24"""
    await deck.agent("client-001")
    running, pending = await submit(deck), await submit(deck)
    await deck.move(running, S.SENT)
    await deck.move(running, S.EXECUTING)
    for _ in range(2):
        answer = await deck.http.post(f"/api/command/{running}/terminate")
        assert (answer.status_code, answer.json()["status"]) == (202, "executing")
    assert (await deck.command(running)).state is S.TERMINATING
    answer = await deck.http.post(f"/api/command/{pending}/terminate")
    assert answer.json()["message"] == "Terminated before it started"
    assert (await deck.command(pending)).state is S.TERMINATED
    asked = [stop.command_id for stop in await deck.queued() if isinstance(stop, TerminateRequest)]
    assert sorted(filter(None, asked)) == sorted([running, pending])


async def test_one_idempotency_key_is_one_command_for_a_hundred_posts(deck: Deck) -> None:
    """S3-5"""
    await deck.agent("client-001")
    headers = {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(
        *(deck.http.post("/api/command", json=ASK, headers=headers) for _ in range(100))
    )
    assert {answer.status_code for answer in answers} == {202}
    (command_id,) = {answer.json()["command_id"] for answer in answers}
    assert len(await deck.queued()) == 1
    assert len(await deck.stored(FEED)) == 1
    other = await deck.http.post("/api/command", json={**ASK, "timeout": 31}, headers=headers)
    assert (other.status_code, other.json()["code"], other.json()["field"]) == (
        422,
        "idempotency_conflict",
        "Idempotency-Key",
    )
    reordered = dict(reversed(ASK.items()))
    again = await deck.http.post("/api/command", json=reordered, headers=headers)
    assert again.json()["command_id"] == command_id


async def test_a_repeated_unreachable_command_is_answered_as_the_first_time(deck: Deck) -> None:
    """S3-5"""
    await deck.agent("client-001", linked=False)
    headers = {"Idempotency-Key": "k-1"}
    first = await deck.http.post("/api/command", json=ASK, headers=headers)
    await deck.agent("client-001")
    second = await deck.http.post("/api/command", json=ASK, headers=headers)
    assert (second.status_code, second.json()["command_id"]) == (409, first.json()["command_id"])


async def test_another_tenant_sees_nothing_of_it(deck: Deck) -> None:
    """S1-26"""
    await deck.agent("client-001")
    command_id = await submit(deck)
    await deck.token("other-token", tenant="other", principal="mallory")
    headers = {"Authorization": "Bearer other-token"}
    answer = await deck.http.get(f"/api/command/{command_id}", headers=headers)
    while answer.status_code == 401:  # the token is on its way to the api's memory
        answer = await deck.http.get(f"/api/command/{command_id}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await deck.http.get("/api/commands", headers=headers)).json()["total"] == 0
    stop = await deck.http.post(f"/api/command/{command_id}/terminate", headers=headers)
    assert stop.status_code == 404
    assert (await deck.store.command(TENANT, command_id)) is not None


async def test_what_was_sent_is_logged_without_its_payload(deck: Deck) -> None:
    """S0-23"""
    await deck.agent("client-001")
    with structlog.testing.capture_logs() as lines:
        command_id = await submit(deck, payload={"password": "hunter2"})
    (line,) = [line for line in lines if line["event"] == "api.command_sent"]
    assert (line["command_id"], line["client_id"], line["command_type"]) == (
        command_id,
        "client-001",
        "restart",
    )
    assert line["timeout_ms"] == 30_000
    assert "hunter2" not in str(lines)
