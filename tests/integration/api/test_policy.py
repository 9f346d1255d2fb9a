"""What a tenant may order, and answers that are given again."""

from typing import Any

import msgspec
import pytest

from quarterdeck.contracts.events import POLICY_APPROVED, POLICY_REFUSED, CloudEvent
from quarterdeck.contracts.orders import DispatchChunk
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from tests.integration.api.deck import TENANT, Deck

ASK: dict[str, Any] = {"client_id": "a1", "command_type": "status", "payload": {"of": "disk"}, "timeout": 30}


async def ended(deck: Deck, answer: Any, to: S = S.SUCCEEDED, **fields: Any) -> str:
    """The command that was answered, sent and ended."""
    command_id = str(answer.json()["command_id"])
    await deck.move(command_id, S.SENT)
    await deck.move(command_id, to, completed_at_ms=deck.clock.now_ms(), **fields)
    return command_id


async def test_without_a_policy_everything_may_be_ordered(deck: Deck) -> None:
    shown = await deck.http.get("/api/policy")

    assert shown.json() == {
        "allowed": None,
        "needs_approval": [],
        "cached": {},
        "updated_at": None,
        "updated_by": None,
    }


async def test_only_listed_commands_are_taken_in_by_every_way(deck: Deck) -> None:
    """S0-29"""
    await deck.agent("a1")
    replaced = await deck.http.put("/api/policy", json={"allowed": ["status", "config.*"]})

    assert replaced.status_code == 200
    assert replaced.json()["updated_by"] == "alice"
    assert (await deck.http.post("/api/command", json=ASK)).status_code == 202
    assert (
        await deck.http.post("/api/command", json={**ASK, "command_type": "config.set"})
    ).status_code == 202
    shell = {"command_content": "reboot", "target_vps_ids": ["a1"]}
    for path, body in (
        ("/api/command", {**ASK, "command_type": "restart"}),
        (
            "/api/command/batch",
            {"client_ids": ["a1"], "command_type": "exec", "payload": {"argv": ["reboot"]}},
        ),
        ("/api/batch_commands", shell),
    ):
        refused = await deck.http.post(path, json=body)
        assert refused.status_code == 403, path
        assert refused.json()["code"] == "command_not_allowed"
    assert (await deck.store.list_commands(TENANT)).total == 2
    assert (await deck.store.list_batches(TENANT)).total == 0


async def test_a_refusal_is_told_as_an_event(deck: Deck) -> None:
    """S0-29"""
    await deck.agent("a1")
    await deck.http.put("/api/policy", json={"allowed": []})

    await deck.http.post("/api/command", json=ASK)

    told = [msgspec.json.decode(message.body, type=CloudEvent) for message in await deck.stored(FEED)]
    (refusal,) = [event for event in told if event.type == POLICY_REFUSED]
    assert refusal.data == {"user_id": "alice", "command_type": "status", "targets": 1}


@pytest.mark.parametrize(
    "policy",
    [
        {"allowed": ["no spaces"]},
        {"allowed": "status"},
        {"cached": {"shell": 10}},
        {"cached": {"status": 0}},
        {"cached": {"status": 1801}},
        {"cached": {"what ever": 10}},
        {"alowed": []},
    ],
)
async def test_a_bad_policy_is_refused_and_changes_nothing(deck: Deck, policy: dict[str, Any]) -> None:
    """S0-28, S0-29"""
    refused = await deck.http.put("/api/policy", json=policy)

    assert refused.status_code == 422
    assert (await deck.http.get("/api/policy")).json()["updated_at"] is None


async def test_the_same_question_gets_the_answer_of_before_without_being_sent(deck: Deck) -> None:
    """S0-33"""
    await deck.agent("a1")
    await deck.http.put("/api/policy", json={"cached": {"status": 60}})
    first = await ended(deck, await deck.http.post("/api/command", json=ASK), result='{"free": 7}')

    again = await deck.http.post("/api/command", json={**ASK, "payload": {"of": "disk"}})
    second = again.json()["command_id"]
    shown = (await deck.http.get(f"/api/command/{second}")).json()["command"]

    assert again.status_code == 202
    assert second != first
    assert (shown["status"], shown["result"], shown["cached_from"]) == ("completed", {"free": 7}, first)
    assert len(await deck.queued()) == 1
    told = [msgspec.json.decode(message.body, type=CloudEvent) for message in await deck.stored(FEED)]
    assert [event.type for event in told if event.subject == second] == [
        "command.accepted",
        "command.completed",
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"payload": {"of": "memory"}},
        {"client_id": "a2"},
        {"command_type": "restart"},
        {"env": {"LANG": "C"}},
    ],
)
async def test_another_question_is_asked(deck: Deck, other: dict[str, Any]) -> None:
    """S0-33"""
    await deck.agent("a1", "a2")
    await deck.http.put("/api/policy", json={"cached": {"status": 60}})
    await ended(deck, await deck.http.post("/api/command", json=ASK))

    await deck.http.post("/api/command", json={**ASK, **other})

    assert len(await deck.queued()) == 2


async def test_a_failure_a_running_command_and_an_old_answer_are_no_answers(deck: Deck) -> None:
    """S0-33"""
    await deck.agent("a1")
    await deck.http.put("/api/policy", json={"cached": {"status": 60}})

    await ended(deck, await deck.http.post("/api/command", json=ASK), S.FAILED)
    running = await deck.http.post("/api/command", json=ASK)
    third = await deck.http.post("/api/command", json=ASK)
    old = deck.clock.now_ms() - 61_000
    await deck.move(third.json()["command_id"], S.SENT)
    await deck.move(third.json()["command_id"], S.SUCCEEDED, completed_at_ms=old)
    fourth = await deck.http.post("/api/command", json=ASK)

    assert [answer.status_code for answer in (running, third, fourth)] == [202, 202, 202]
    assert len(await deck.queued()) == 4


async def test_depending_on_what_nobody_knows_is_refused(deck: Deck) -> None:
    """S0-40: so that dependencies can form no circle, either."""
    await deck.agent("a1")
    stranger = "01a1fd08-9b86-704f-9624-a7ae3da839d1"
    first = (await deck.http.post("/api/command", json=ASK)).json()["command_id"]

    refused = await deck.http.post("/api/command", json={**ASK, "depends_on": [first, stranger]})
    taken = await deck.http.post("/api/command", json={**ASK, "depends_on": [first, first.upper()]})
    shown = await deck.http.get(f"/api/command/{taken.json()['command_id']}")

    assert refused.status_code == 422
    assert (refused.json()["code"], refused.json()["unknown"]) == ("unknown_dependency", [stranger])
    assert shown.json()["command"]["depends_on"] == [first]


async def test_nobody_depends_on_another_tenant(deck: Deck) -> None:
    """S0-40: its commands do not exist here."""
    await deck.agent("a1")
    first = (await deck.http.post("/api/command", json=ASK)).json()["command_id"]

    assert await deck.store.await_ends(TENANT, [first], ()) == [S.PENDING]
    assert await deck.store.await_ends("other", [first], ()) == [None]


BOB = {"Authorization": "Bearer qd_bob"}


async def test_what_needs_an_approval_gets_it_from_somebody_else(deck: Deck) -> None:
    """S0-29"""
    await deck.agent("a1")
    await deck.token("qd_bob", principal="bob")
    await deck.http.put("/api/policy", json={"needs_approval": ["restart"]})
    ordered = (await deck.http.post("/api/command", json={**ASK, "command_type": "restart"})).json()[
        "command_id"
    ]
    path = f"/api/command/{ordered}/approve"

    own = await deck.http.post(path)
    other = await deck.http.post(path, headers=BOB)
    again = await deck.http.post(path, headers=BOB)

    assert (own.status_code, own.json()["code"]) == (403, "own_approval")
    assert other.json() == {"success": True, "id": ordered, "approved_by": "bob"}
    assert again.json() == other.json()
    (chunk,) = await deck.queued()
    assert isinstance(chunk, DispatchChunk)
    assert chunk.spec.needs_approval
    told = [msgspec.json.decode(message.body, type=CloudEvent) for message in await deck.stored(FEED)]
    (approval,) = [event for event in told if event.type == POLICY_APPROVED]
    assert approval.data == {"subject_id": ordered, "approved_by": "bob"}


async def test_a_batch_is_approved_as_a_whole(deck: Deck) -> None:
    """S0-29, S0-41"""
    await deck.agent("a1")
    await deck.token("qd_bob", principal="bob")
    await deck.http.put("/api/policy", json={"needs_approval": ["sh*"]})
    body = {"command_content": "reboot", "target_vps_ids": ["a1"]}
    batch_id = (await deck.http.post("/api/batch_commands", json=body)).json()["batch_command_id"]
    (child,) = await deck.expand(batch_id, S.WAITING)

    of_child = await deck.http.post(f"/api/command/{child.command_id}/approve", headers=BOB)
    of_batch = await deck.http.post(f"/api/batch_commands/{batch_id}/approve", headers=BOB)

    assert of_child.status_code == 409
    assert of_batch.json() == {"success": True, "id": batch_id, "approved_by": "bob"}


async def test_what_needs_no_approval_and_what_ended_cannot_be_approved(deck: Deck) -> None:
    """S0-29"""
    await deck.agent("a1")
    await deck.token("qd_bob", principal="bob")
    free = (await deck.http.post("/api/command", json=ASK)).json()["command_id"]
    await deck.http.put("/api/policy", json={"needs_approval": ["status"]})
    stopped = (await deck.http.post("/api/command", json=ASK)).json()["command_id"]
    await deck.http.post(f"/api/command/{stopped}/terminate")

    for command_id in (free, stopped):
        refused = await deck.http.post(f"/api/command/{command_id}/approve", headers=BOB)
        assert (refused.status_code, refused.json()["code"]) == (409, "approval_not_awaited")
    assert (await deck.http.post(f"/api/command/{TENANT}/approve", headers=BOB)).status_code in {404, 422}
