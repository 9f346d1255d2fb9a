"""Batches over REST: seed 4's bodies, chunks on the bus, terminate."""

import asyncio
from typing import Any

import msgspec
import pytest

from quarterdeck.contracts.commands import Lane, TimeoutClock
from quarterdeck.contracts.events import CloudEvent
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.limits import CHUNK_TARGETS
from quarterdeck.contracts.orders import DispatchChunk, TerminateRequest
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from tests.integration.api.deck import TENANT, Deck

ASK: dict[str, Any] = {"command_content": "echo hello", "target_vps_ids": ["vps1", "vps2"]}


async def submit(deck: Deck, **changes: Any) -> str:
    answer = await deck.http.post("/api/batch_commands", json={**ASK, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["batch_command_id"])


async def show(deck: Deck, batch_id: str, **params: Any) -> Any:
    answer = await deck.http.get(f"/api/batch_commands/{batch_id}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_submitting_answers_seed_4_body_and_queues_the_targets(deck: Deck) -> None:
    """S4-1, S4-2, S4-8, S4-13"""
    await deck.agent("vps1", "vps2")
    answer = await deck.http.post(
        "/api/batch_commands", json={**ASK, "working_directory": "/tmp", "execution_alias": "My Batch"}
    )
    assert answer.status_code == 202
    assert answer.json() == {
        "batch_command_id": answer.json()["batch_command_id"],
        "status": "PENDING",
        "message": "Batch command task accepted and is being processed.",
    }
    (chunk,) = await deck.queued()
    assert isinstance(chunk, DispatchChunk)
    assert chunk.spec.payload == b'{"command":"echo hello"}'
    assert (chunk.spec.working_directory, chunk.spec.timeout_from) == ("/tmp", TimeoutClock.START)
    assert [item.agent_id for item in chunk.items] == ["vps1", "vps2"]
    stored = await deck.store.batch(TENANT, chunk.batch_id or "")
    assert stored is not None
    assert msgspec.json.decode(stored.original_request)["execution_alias"] == "My Batch"


async def test_a_batch_shows_every_task_with_its_nulls_before_anything_was_expanded(deck: Deck) -> None:
    """S4-3, S4-4, S4-9"""
    await deck.agent("vps1", "vps2")
    batch_id = await submit(deck)
    body = await show(deck, batch_id)
    assert body["batch_command_id"] == batch_id
    assert body["overall_status"] == "PENDING"
    assert body["execution_alias"] is None
    assert body["tasks"][0] == {
        "child_command_id": child_id(batch_id, 0),
        "vps_id": "vps1",
        "vps_name": "host vps1",
        "status": "PENDING",
        "exit_code": None,
        "output_stream_summary": [],
        "error_message": None,
        "stdout_truncated_bytes": 0,
        "stderr_truncated_bytes": 0,
        "via": None,
        "created_at": body["tasks"][0]["created_at"],
        "updated_at": body["tasks"][0]["updated_at"],
    }
    assert body["tasks"][0]["created_at"].endswith("Z")
    assert body["counts"] == {"PENDING": 2}


@pytest.mark.parametrize(
    ("road", "status", "overall"),
    [
        ([], "SENT_TO_AGENT", "IN_PROGRESS"),
        ([S.ACCEPTED], "AGENT_ACCEPTED", "IN_PROGRESS"),
        ([S.EXECUTING], "EXECUTING", "IN_PROGRESS"),
        ([S.EXECUTING, S.TERMINATING], "TERMINATING", "IN_PROGRESS"),
        ([S.SUCCEEDED], "SUCCESS", "COMPLETED_SUCCESSFULLY"),
        ([S.FAILED], "FAILURE", "COMPLETED_WITH_ERRORS"),
        ([S.TIMED_OUT], "FAILURE", "COMPLETED_WITH_ERRORS"),
        ([S.TERMINATED], "TERMINATED", "COMPLETED_WITH_ERRORS"),
        ([S.REJECTED], "AGENT_REJECTED", "COMPLETED_WITH_ERRORS"),
        ([S.UNREACHABLE], "AGENT_UNREACHABLE", "FAILED_TO_START"),
        ([S.OUTCOME_UNKNOWN], "FAILURE", "COMPLETED_WITH_ERRORS"),
    ],
)
async def test_states_show_as_seed_4_statuses(deck: Deck, road: list[S], status: str, overall: str) -> None:
    """S4-10, S4-11, S4-14, S4-15, S4-16, S4-21"""
    await deck.agent("vps1")
    batch_id = await submit(deck, target_vps_ids=["vps1"])
    (child,) = await deck.expand(batch_id)
    for state in road:
        await deck.move(child.command_id, state)
    body = await show(deck, batch_id)
    assert (body["tasks"][0]["status"], body["overall_status"]) == (status, overall)
    assert (body["tasks"][0]["error_message"] is None) == (
        status not in ("FAILURE", "AGENT_REJECTED", "AGENT_UNREACHABLE")
    )


async def test_a_task_shows_exit_code_error_and_the_last_lines_of_its_output(deck: Deck) -> None:
    """S4-4, S4-18, S4-20, S4-35"""
    await deck.agent("vps1")
    batch_id = await submit(deck, target_vps_ids=["vps1"])
    (child,) = await deck.expand(batch_id)
    tail = b"cut line\n" + b"".join(b"line %d\n" % index for index in range(20))
    await deck.move(
        child.command_id,
        S.FAILED,
        exit_code=3,
        error="disk full",
        stdout_bytes=100_000,
        stdout_tail=tail,
        stderr_bytes=8,
        stderr_tail=b"oh \xff no\n",
    )
    (task,) = (await show(deck, batch_id))["tasks"]
    assert (task["exit_code"], task["error_message"]) == (3, "disk full")
    assert task["output_stream_summary"] == [*(f"line {index}" for index in range(10, 20)), "oh � no"]


async def test_tasks_can_be_read_in_pages(deck: Deck) -> None:
    """S4-3"""
    await deck.agent(*(f"vps{index}" for index in range(10)))
    batch_id = await submit(deck, target_vps_ids=[f"vps{index}" for index in range(10)])
    body = await show(deck, batch_id, offset=4, limit=3)
    assert [task["vps_id"] for task in body["tasks"]] == ["vps4", "vps5", "vps6"]
    assert body["total"] == 10


async def test_large_batches_leave_in_chunks(deck: Deck) -> None:
    """S4-13, S0-31"""
    count = 2 * CHUNK_TARGETS + 7
    names = [f"vps{index}" for index in range(count)]
    await deck.agent(*names)
    batch_id = await submit(deck, target_vps_ids=names, priority=2)
    chunks = [chunk for chunk in await deck.queued() if isinstance(chunk, DispatchChunk)]
    assert [len(chunk.items) for chunk in chunks] == [CHUNK_TARGETS, CHUNK_TARGETS, 7]
    items = [item for chunk in chunks for item in chunk.items]
    assert [item.agent_id for item in items] == names
    assert [item.command_id for item in items] == [child_id(batch_id, index) for index in range(count)]
    assert {chunk.spec.lane for chunk in chunks} == {Lane.BULK}
    events = [msgspec.json.decode(m.body, type=CloudEvent) for m in await deck.stored(FEED)]
    assert [event.type for event in events] == ["batch.created"] * 3
    assert [target for event in events for target in event.data["targets"]] == names
    assert [event.data["offset"] for event in events] == [0, CHUNK_TARGETS, 2 * CHUNK_TARGETS]
    assert events[0].data["total"] == count


async def test_waiting_answers_when_the_batch_ends(deck: Deck) -> None:
    """S4-22"""
    await deck.agent("vps1", "vps2")
    batch_id = await submit(deck)
    waiting = asyncio.create_task(show(deck, batch_id, wait=30))
    for child in await deck.expand(batch_id):
        await deck.move(child.command_id, S.SUCCEEDED)
    assert (await waiting)["overall_status"] == "COMPLETED_SUCCESSFULLY"


async def test_terminating_a_batch_stops_what_runs_and_what_never_started(deck: Deck) -> None:
    """S4-5, S4-24"""
    await deck.agent("vps1", "vps2")
    batch_id = await submit(deck)
    answer = await deck.http.post(f"/api/batch_commands/{batch_id}/terminate")
    assert (answer.status_code, answer.json()["status"]) == (202, "TERMINATING")
    assert (await deck.http.post(f"/api/batch_commands/{batch_id}/terminate")).status_code == 202
    stops = [message for message in await deck.queued() if isinstance(message, TerminateRequest)]
    assert [stop.batch_id for stop in stops] == [batch_id]
    await deck.expand(batch_id)
    body = await show(deck, batch_id)
    assert body["overall_status"] == "TERMINATED"
    assert {task["status"] for task in body["tasks"]} == {"TERMINATED"}
    done = await deck.http.post(f"/api/batch_commands/{batch_id}/terminate")
    assert done.json()["message"] == "Already finished"


async def test_terminating_one_task_leaves_the_others(deck: Deck) -> None:
    """S4-6, S4-25"""
    await deck.agent("vps1", "vps2")
    batch_id = await submit(deck)
    first, second = await deck.expand(batch_id)
    await deck.move(first.command_id, S.EXECUTING)
    path = f"/api/batch_commands/{batch_id}/tasks/{first.command_id}/terminate"
    answer = await deck.http.post(path)
    assert (answer.status_code, answer.json()["status"]) == (202, "TERMINATING")
    assert answer.json()["child_command_id"] == first.command_id
    await deck.move(first.command_id, S.TERMINATED)
    await deck.move(second.command_id, S.SUCCEEDED)
    assert (await show(deck, batch_id))["overall_status"] == "COMPLETED_WITH_ERRORS"


async def test_a_task_that_no_chunk_created_yet_can_be_terminated_and_is_never_sent(deck: Deck) -> None:
    """S4-6"""
    await deck.agent("vps1", "vps2")
    batch_id = await submit(deck)
    child = child_id(batch_id, 1)
    answer = await deck.http.post(f"/api/batch_commands/{batch_id}/tasks/{child}/terminate")
    assert (answer.status_code, answer.json()["status"]) == (202, "TERMINATED")
    await deck.expand(batch_id)
    body = await show(deck, batch_id)
    assert [task["status"] for task in body["tasks"]] == ["SENT_TO_AGENT", "TERMINATED"]


async def test_a_task_of_another_batch_is_404(deck: Deck) -> None:
    """S4-6"""
    await deck.agent("vps1", "vps2")
    one, other = await submit(deck), await submit(deck)
    for child in (child_id(other, 0), "0190f0b0-0000-7000-8000-000000000000"):
        answer = await deck.http.post(f"/api/batch_commands/{one}/tasks/{child}/terminate")
        assert (answer.status_code, answer.json()["field"]) == (404, "child_command_id")


async def test_batches_are_listed_newest_first(deck: Deck) -> None:
    """S4-3"""
    await deck.agent("vps1", "vps2")
    made = [await submit(deck, execution_alias=f"b{index}") for index in range(3)]
    page = (await deck.http.get("/api/batch_commands?limit=2")).json()
    rest = (
        await deck.http.get("/api/batch_commands", params={"limit": 2, "cursor": page["next_cursor"]})
    ).json()
    shown = page["batch_commands"] + rest["batch_commands"]
    assert [batch["batch_command_id"] for batch in shown] == sorted(made, reverse=True)
    assert (page["total"], rest["next_cursor"]) == (3, None)


async def test_seed_0_batch_runs_any_command_type_on_many_clients(deck: Deck) -> None:
    """S0-31, S0-41"""
    await deck.agent("c1", "c2")
    ask = {"client_ids": ["c1", "c2"], "command_type": "restart", "payload": {"delay_seconds": 1}}
    answer = await deck.http.post("/api/command/batch", json=ask)
    assert answer.status_code == 202
    body = answer.json()
    assert body["success"] is True
    (chunk,) = await deck.queued()
    assert isinstance(chunk, DispatchChunk)
    assert (chunk.batch_id, chunk.spec.command_type) == (body["batch_command_id"], "restart")
    assert len((await show(deck, body["batch_command_id"]))["tasks"]) == 2


async def test_a_batch_may_carry_a_command_type_instead_of_shell_content(deck: Deck) -> None:
    """S4-1"""
    await deck.agent("vps1", "vps2")
    await submit(deck, command_content=None, command_type="exec", payload={"argv": ["id", "-u"]})
    (chunk,) = await deck.queued()
    assert isinstance(chunk, DispatchChunk)
    assert chunk.spec.payload == b'{"argv":["id","-u"]}'


async def test_one_idempotency_key_is_one_batch(deck: Deck) -> None:
    """S3-5"""
    await deck.agent("vps1", "vps2")
    headers = {"Idempotency-Key": "nightly"}
    answers = await asyncio.gather(
        *(deck.http.post("/api/batch_commands", json=ASK, headers=headers) for _ in range(20))
    )
    assert len({answer.text for answer in answers}) == 1
    assert len(await deck.queued()) == 1
    other = {**ASK, "command_content": "echo bye"}
    answer = await deck.http.post("/api/batch_commands", json=other, headers=headers)
    assert answer.json()["code"] == "idempotency_conflict"
