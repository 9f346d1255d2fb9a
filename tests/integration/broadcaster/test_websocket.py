"""A batch over a WebSocket: what is told, who may listen, what can be asked for, and clients that behave badly."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.events import EventRecord, encode_cloud_event
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.orders import TerminateRequest
from quarterdeck.contracts.states import BatchState
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core import metrics
from quarterdeck.core.bus import Outgoing
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.registry.keys import api_token_key
from quarterdeck.testing.eventually import eventually
from quarterdeck.web.tickets import Tickets
from quarterdeck.web.tokens import Principal, token_hash
from tests.integration.api.deck import TENANT, TOKEN, Deck
from tests.integration.broadcaster.stage import new_batch, new_command, running_broadcaster
from tests.integration.broadcaster.wire import bytes_of, statuses_of, wired


async def test_a_batch_is_told_from_its_creation_to_its_end(stage: Deck) -> None:
    """S4-19, S4-22: how it stands, then every state, every byte and the end, in their order."""
    await stage.agent("a0", "a1")
    batch_id = await new_batch(stage, 2)
    async with wired(stage, batch_id) as wire:
        stands = [await wire.next() for _ in range(3)]
        first, second = await stage.expand(batch_id)
        await stage.move(first.command_id, S.EXECUTING)
        await stage.output(first, b"one\n", 0)
        await stage.output(first, b"two\n", 4)
        await stage.output(first, b"oops\n", 0, stream="stderr")
        await stage.move(first.command_id, S.SUCCEEDED, exit_code=0)
        await stage.move(second.command_id, S.FAILED, exit_code=3)
        messages = await wire.rest()

    assert wire.closed == (1000, "the batch has ended")
    kinds = [message and message["type"] for message in stands]
    assert kinds == ["BATCH_TASK_CREATED", "CHILD_TASK_UPDATE", "CHILD_TASK_UPDATE"]
    created, task, _ = (message["payload"] for message in stands if message)
    assert (created["batch_command_id"], created["overall_status"], created["total"]) == (
        batch_id,
        "PENDING",
        2,
    )
    assert task == {
        "child_command_id": first.command_id,
        "vps_id": "a0",
        "vps_name": "host a0",
        "status": "PENDING",
        "exit_code": None,
        "output_stream_summary": [],
        "stdout_truncated_bytes": 0,
        "stderr_truncated_bytes": 0,
        "error_message": None,
        "via": None,
        "created_at": created["created_at"],
        "updated_at": task["updated_at"],
    }
    assert statuses_of(messages, first.command_id) == ["SENT_TO_AGENT", "EXECUTING", "SUCCESS"]
    assert statuses_of(messages, second.command_id) == ["SENT_TO_AGENT", "FAILURE"]
    assert bytes_of(messages, first.command_id) == b"one\ntwo\n"
    assert bytes_of(messages, first.command_id, "STDERR") == b"oops\n"
    failure = next(m["payload"] for m in messages if m["payload"].get("status") == "FAILURE")
    assert (failure["exit_code"], failure["error_message"]) == (3, "exit status 3")
    updates = [m["payload"] for m in messages if m["type"] == "BATCH_TASK_UPDATE"]
    assert updates[-1]["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert updates[-1]["counts"] == {"SUCCESS": 1, "FAILURE": 1}


async def test_who_comes_late_gets_all_output_and_no_state_that_is_over(stage: Deck) -> None:
    """S4-22, I5"""
    batch_id = await new_batch(stage, 1)
    (child,) = await stage.expand(batch_id)
    await stage.move(child.command_id, S.EXECUTING)
    await stage.output(child, b"before\n", 0)
    async with wired(stage, batch_id) as wire:
        messages = await wire.until("NEW_LOG_OUTPUT")
        await stage.output(child, b"after\n", 7)
        await stage.move(child.command_id, S.SUCCEEDED, exit_code=0)
        messages += await wire.rest()

    assert statuses_of(messages, child.command_id) == ["EXECUTING", "SUCCESS"]
    assert bytes_of(messages, child.command_id) == b"before\nafter\n"
    assert [message["type"] for message in messages].count("BATCH_TASK_CREATED") == 1


async def test_an_event_that_was_overtaken_is_not_told(stage: Deck) -> None:
    """S4-22: two writers publish, so an older event may lie behind a newer one."""
    batch_id = await new_batch(stage, 1)
    (child,) = await stage.expand(batch_id)
    await stage.move(child.command_id, S.EXECUTING)
    async with wired(stage, batch_id) as wire:
        messages = await wire.until("CHILD_TASK_UPDATE", status="EXECUTING")
        record = EventRecord(
            type="command.sent",
            tenant=TENANT,
            aggregate_id=child.command_id,
            version=1,
            at_ms=1,
            batch_id=batch_id,
            command_id=child.command_id,
            payload={"state": "sent", "attempt": 1, "agent_id": "a0"},
        )
        await stage.bus.publish(Outgoing(record.subject, encode_cloud_event(record)))
        await stage.move(child.command_id, S.SUCCEEDED, exit_code=0)
        messages += await wire.rest()
    assert statuses_of(messages, child.command_id) == ["EXECUTING", "SUCCESS"]


async def test_a_lost_connection_resumes_behind_the_last_message(stage: Deck) -> None:
    """I5"""
    batch_id = await new_batch(stage, 1)
    (child,) = await stage.expand(batch_id)
    async with wired(stage, batch_id) as wire:
        await stage.output(child, b"one\n", 0)
        last = (await wire.until("NEW_LOG_OUTPUT"))[-1]
    await stage.output(child, b"two\n", 4)
    await stage.move(child.command_id, S.SUCCEEDED, exit_code=0)
    async with wired(stage, batch_id, last_event_id=last["id"]) as wire:
        messages = await wire.rest()
    assert [m["payload"]["chunk"] for m in messages if m["type"] == "NEW_LOG_OUTPUT"] == ["two\n"]
    assert statuses_of(messages, child.command_id) == ["SUCCESS"]
    assert "BATCH_TASK_CREATED" not in {message["type"] for message in messages}

    async with wired(stage, batch_id, last_event_id=messages[-1]["id"]) as wire:
        assert (await wire.rest(), wire.closed) == ([], (1000, "the batch has ended"))


async def test_output_that_is_no_text_comes_exactly_beside_its_replacement(stage: Deck) -> None:
    """S4-17, S4-35"""
    batch_id = await new_batch(stage, 1)
    (child,) = await stage.expand(batch_id)
    await stage.output(child, b"caf\xc3", 0)
    await stage.output(child, b"\xa9 \x00\xff\n", 4)
    await stage.move(child.command_id, S.SUCCEEDED, exit_code=0)
    async with wired(stage, batch_id) as wire:
        messages = await wire.rest()
    chunks = [m["payload"]["chunk"] for m in messages if m["type"] == "NEW_LOG_OUTPUT"]
    assert chunks == ["caf�", "� \x00�\n"]
    assert bytes_of(messages, child.command_id) == "café \x00".encode() + b"\xff\n"


async def test_one_task_and_the_whole_batch_can_be_stopped(stage: Deck) -> None:
    """S4-6, S4-24"""
    batch_id = await new_batch(stage, 2)
    first, second = await stage.expand(batch_id)
    async with wired(stage, batch_id) as wire:
        await wire.say("TERMINATE_TASK", child_command_id=first.command_id)
        await wire.until("CHILD_TASK_UPDATE", child_command_id=first.command_id, status="TERMINATING")
        await wire.say("TERMINATE_TASK", child_command_id=first.command_id)
        await wire.say("TERMINATE_TASK", batch_command_id=batch_id)
        await wire.until("BATCH_TASK_UPDATE", overall_status="TERMINATING")
    asked = [message for message in await stage.queued() if isinstance(message, TerminateRequest)]
    assert [(request.command_id, request.batch_id) for request in asked] == [
        (first.command_id, None),
        (None, batch_id),
    ]
    assert (await stage.command(second.command_id)).state is S.SENT  # the dispatcher's to stop
    batch = await stage.store.batch(TENANT, batch_id)
    assert batch is not None and batch.state is BatchState.TERMINATING


_NONSENSE: Final = (
    ("no json", "malformed_body", "body"),
    ("", "malformed_body", "body"),
    ("[" * 5_000, "invalid_input", "body"),
    (b"\xff\xfe", "malformed_body", "body"),
    ("[]", "invalid_input", "body"),
    ('{"type": "SING", "payload": {}}', "invalid_input", "type"),
    ('{"payload": {}}', "invalid_input", "type"),
    ('{"type": "TERMINATE_TASK"}', "invalid_input", "payload"),
    ('{"type": "TERMINATE_TASK", "payload": {}}', "invalid_input", "payload"),
    ('{"type": "TERMINATE_TASK", "payload": {"all": true}}', "invalid_input", "payload.all"),
    (
        '{"type": "TERMINATE_TASK", "payload": {"child_command_id": 1}}',
        "invalid_input",
        "payload.child_command_id",
    ),
    (
        '{"type": "TERMINATE_TASK", "payload": {"child_command_id": "*.>"}}',
        "invalid_id",
        "child_command_id",
    ),
    ('{"type": "TERMINATE_TASK", "payload": {"child_command_id": "x"}}', "not_found", "child_command_id"),
    ('{"type": "TERMINATE_TASK", "payload": {"batch_command_id": "x"}}', "not_found", "batch_command_id"),
    ('{"type": "TERMINATE_TASK", "payload": "' + "x" * 20_000 + '"}', "body_too_large", "body"),
)
"""Message, code and field of the error that answers it."""


async def test_nonsense_is_answered_with_a_typed_error_and_harms_nothing(stage: Deck) -> None:
    """S0-28, S4-36"""
    for message, code, field in _NONSENSE:
        batch_id = await new_batch(stage, 1)
        async with wired(stage, batch_id) as wire:
            await wire.until("BATCH_TASK_CREATED")  # else it may tell the stop, and no update comes after it
            await wire.connection.send(message)
            error = (await wire.until("ERROR"))[-1]["payload"]
            assert (error["code"], error["field"]) == (code, field), message[:40]
            await wire.say("TERMINATE_TASK", batch_command_id=batch_id)
            await wire.until("BATCH_TASK_UPDATE")


async def test_a_task_of_another_batch_is_not_stopped_here(stage: Deck) -> None:
    """S1-26"""
    mine, other = await new_batch(stage, 1), await new_batch(stage, 1)
    (child,) = await stage.expand(other)
    async with wired(stage, mine) as wire:
        await wire.say("TERMINATE_TASK", child_command_id=child.command_id)
        assert (await wire.until("ERROR"))[-1]["payload"]["code"] == "not_found"
    assert (await stage.command(child.command_id)).state is S.SENT


async def test_a_client_that_talks_nothing_but_nonsense_is_shown_out(stage: Deck) -> None:
    """S4-36: after ten errors, and at once when a message is too large to be read."""
    batch_id = await new_batch(stage, 1)
    async with wired(stage, batch_id) as wire:
        for _ in range(10):
            await wire.connection.send("?")
        errors = [message for message in await wire.rest() if message["type"] == "ERROR"]
    assert (len(errors), wire.closed) == (10, (1008, "too many errors"))

    async with wired(stage, batch_id) as wire:
        await wire.connection.send("x" * (2 * 1024 * 1024))
        await wire.rest()
    assert wire.closed is not None and wire.closed[0] == 1009


@pytest.mark.parametrize("token", [None, "qd_wrong"])
async def test_without_a_good_token_the_socket_says_why_and_closes(stage: Deck, token: str | None) -> None:
    """S0-27"""
    batch_id = await new_batch(stage, 1)
    async with wired(stage, batch_id, token=token) as wire:
        (error,) = await wire.rest()
    assert (error["type"], error["payload"]["code"]) == ("ERROR", "not_authenticated")
    assert wire.closed is not None and wire.closed[0] == 4401


async def test_a_ticket_opens_one_socket(stage: Deck) -> None:
    """S0-27"""
    batch_id = await new_batch(stage, 1)
    ticket = await Tickets(stage.registry, SystemClock()).issue(Principal(TENANT, "alice", "t1"))
    async with wired(stage, batch_id, token=None, ticket=ticket) as wire:
        await wire.until("BATCH_TASK_CREATED")
    async with wired(stage, batch_id, token=None, ticket=ticket) as wire:
        await wire.rest()
    assert wire.closed is not None and wire.closed[0] == 4401


async def test_what_is_not_there_or_not_yours_is_4404(stage: Deck) -> None:
    """S1-26, S4-28"""
    await stage.token("qd_mallory", tenant="other", principal="mallory")
    batch_id = await new_batch(stage, 1)
    single = await new_command(stage)
    await eventually(lambda: _opens(stage, batch_id, "qd_mallory", 4404))
    for wrong in (new_id(), single.command_id, "no-id"):
        assert await _opens(stage, wrong, TOKEN, 4404), wrong
    assert await _opens(stage, batch_id, TOKEN, 4400, last_event_id="rubbish")
    assert await _opens(stage, batch_id, TOKEN, 4422, unknown="1")


async def _opens(stage: Deck, batch_id: str, token: str, code: int, **params: str) -> bool:
    async with wired(stage, batch_id, token=token, **params) as wire:
        messages = await wire.rest()
    return (
        [message["type"] for message in messages] == ["ERROR"]
        and wire.closed is not None
        and wire.closed[0] == code
    )


async def test_a_token_that_was_revoked_meanwhile_stops_nothing(stage: Deck) -> None:
    """S0-27"""
    await stage.token("qd_leaver", principal="leaver")
    batch_id = await new_batch(stage, 1)
    (child,) = await stage.expand(batch_id)

    async def let_in() -> bool:
        async with wired(stage, batch_id, token="qd_leaver") as wire:
            message = await wire.next()
            return message is not None and message["type"] == "BATCH_TASK_CREATED"

    await eventually(let_in)
    async with wired(stage, batch_id, token="qd_leaver") as wire:
        await wire.until("BATCH_TASK_CREATED")
        await stage.registry.tokens.delete(api_token_key(token_hash("qd_leaver")))

        async def refused() -> bool:
            await wire.say("TERMINATE_TASK", child_command_id=new_id())
            error = (await wire.until("ERROR"))[-1]["payload"]
            return bool(error["code"] == "not_authenticated")

        await eventually(refused)
    assert (await stage.command(child.command_id)).state is S.SENT


async def test_a_plain_request_is_told_to_upgrade(stage: Deck) -> None:
    """S4-22"""
    answer = await stage.http.get(f"/api/batch_commands/{await new_batch(stage, 1)}/ws")
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"


async def test_a_socket_that_reads_nothing_is_cut_and_the_others_go_on(stage: Deck) -> None:
    """I9"""
    batch_id = await new_batch(stage, 1)
    (child,) = await stage.expand(batch_id)
    cut_before = metrics.WATCHERS_CUT._value.get()
    async with wired(stage, batch_id) as deaf, wired(stage, batch_id) as wire:
        deaf.connection.transport.pause_reading()
        offset = 0
        for _ in range(60):
            offset = await stage.output(child, bytes(200_000), offset)
        await stage.move(child.command_id, S.SUCCEEDED, exit_code=0)
        messages = await wire.rest()
        assert len(bytes_of(messages, child.command_id)) == offset
        await eventually(lambda: metrics.WATCHERS_CUT._value.get() == cut_before + 1)
        deaf.connection.transport.abort()


async def test_a_service_that_stops_sends_its_sockets_elsewhere(deck: Deck, tmp_path: Path) -> None:
    """S1-29"""
    batch_id = await new_batch(deck, 1)
    settings = BroadcasterSettings(port_file=tmp_path / "port", drain_s=2.0)
    opened = asyncio.Event()

    async def follow(client: httpx.AsyncClient) -> Any:
        deck.url = str(client.base_url)
        async with wired(deck, batch_id) as wire:
            await wire.until("CHILD_TASK_UPDATE")
            opened.set()
            await wire.rest()
            return wire.closed

    async with running_broadcaster(deck, settings) as client:
        following = asyncio.create_task(follow(client))
        await opened.wait()
    assert await following == (1012, "come back")
