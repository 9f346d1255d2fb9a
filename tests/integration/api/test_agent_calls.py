"""One agent asked while the caller waits: /commands, /namespaces and /run. The test plays dispatcher and agent."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from quarterdeck.api.settings import ApiSettings
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import CommandView
from quarterdeck.testing.eventually import eventually
from tests.integration.api.deck import Deck, running_api

COMMANDS = {
    "commands": [
        {
            "id": 1,
            "cmd": "ps -p {pid}",
            "param_names": ["pid"],
            "output_format": "TEXT",
            "cmd_type": "LINUX",
            "ident": "ps",
            "params": [
                {
                    "name": "pid",
                    "regex": "[0-9]+",
                    "required": True,
                    "param_type": "PF_TEXT",
                    "description": "",
                }
            ],
            "type_name": "process",
        }
    ]
}
NAMESPACES = {"namespaces": [{"id": 4026531840, "ns_type": "net", "user": "root", "pid": 1, "cmd": "init"}]}


async def taken_in(deck: Deck) -> CommandView:
    """The command that the call made."""

    async def queued() -> bool:
        return len(await deck.queued()) > 0

    await eventually(queued)
    [message] = await deck.queued()
    [item] = message.items  # type: ignore[union-attr]  # a dispatch, not a stop
    return await deck.command(item.command_id)


async def ended(deck: Deck, call: Any, state: S, **fields: Any) -> tuple[httpx.Response, CommandView]:
    """`call`, answered by an agent that brings its command to `state`."""
    calling = asyncio.ensure_future(call)
    view = await taken_in(deck)
    for step in (S.SENT, S.EXECUTING):
        await deck.move(view.command_id, step)
    await deck.move(view.command_id, state, **fields)
    return await calling, view


async def test_an_agent_tells_its_commands(deck: Deck) -> None:
    """S1-9, S1-11"""
    await deck.agent("a1")
    call = deck.http.get("/api/agents/a1/commands")
    answer, view = await ended(deck, call, S.SUCCEEDED, result=msgspec.json.encode(COMMANDS).decode())
    assert answer.status_code == 200
    told = {"success": True, "agent_id": "a1", "command_id": view.command_id}
    assert answer.json() == {**told, **COMMANDS}
    assert (view.spec.command_type, view.spec.payload, view.spec.timeout_ms) == (
        "list_commands",
        b"{}",
        30_000,
    )


async def test_an_agent_tells_its_namespaces(deck: Deck) -> None:
    """S1-10, S1-11"""
    await deck.agent("a1")
    call = deck.http.get("/api/agents/a1/namespaces")
    answer, view = await ended(deck, call, S.SUCCEEDED, result=msgspec.json.encode(NAMESPACES).decode())
    assert answer.status_code == 200
    assert answer.json()["namespaces"] == NAMESPACES["namespaces"]
    assert view.spec.command_type == "list_namespaces"


async def test_what_a_newer_agent_says_more_is_ignored(deck: Deck) -> None:
    """S1-25, S1-18"""
    await deck.agent("a1")
    newer = '{"namespaces":[{"id":1,"ns_type":"time","colour":"red"}],"more":1}'
    answer, _ = await ended(deck, deck.http.get("/api/agents/a1/namespaces"), S.SUCCEEDED, result=newer)
    [namespace] = answer.json()["namespaces"]
    assert (namespace["ns_type"], namespace["pid"]) == ("time", 0)


@pytest.mark.parametrize("result", [None, "{}", '{"commands":[1]}', "[]"])
async def test_a_result_that_makes_no_sense_is_502(deck: Deck, result: str | None) -> None:
    """S1-18"""
    await deck.agent("a1")
    fields = {} if result is None else {"result": result}
    answer, view = await ended(deck, deck.http.get("/api/agents/a1/commands"), S.SUCCEEDED, **fields)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["reason"]) == (502, "agent_failed", "invalid_result")
    assert problem["command_id"] == view.command_id


async def test_an_agents_own_error_is_told(deck: Deck) -> None:
    """S1-18"""
    await deck.agent("a1")
    call = deck.http.get("/api/agents/a1/commands")
    error = "unknown command: list_commands"
    answer, view = await ended(deck, call, S.FAILED, error=error, reason="unknown_command")
    problem = answer.json()
    assert (answer.status_code, problem["detail"]) == (502, error)
    assert (problem["state"], problem["reason"]) == ("failed", "unknown_command")
    assert problem["command_id"] == view.command_id


async def test_a_run_answers_with_its_output(deck: Deck) -> None:
    """S1-11, S1-8"""
    await deck.agent("a1")
    calling = asyncio.ensure_future(
        deck.http.post("/api/agents/a1/run", json={"command": "echo hi; echo no >&2; exit 3"})
    )
    view = await taken_in(deck)
    assert (view.spec.command_type, view.spec.timeout_ms) == ("shell", 3_600_000)
    await deck.output(view, b"hi\n", 0)
    await deck.output(view, b"\xff\n", 3)
    await deck.output(view, b"no\n", 0, stream="stderr")
    for step in (S.SENT, S.EXECUTING):
        await deck.move(view.command_id, step)
    await deck.move(view.command_id, S.FAILED, exit_code=3, stdout_bytes=5, stderr_bytes=3)
    answer = await calling
    assert answer.status_code == 200
    assert answer.json() == {
        "success": False,
        "agent_id": "a1",
        "command_id": view.command_id,
        "state": "failed",
        "exit_code": 3,
        "signal": None,
        "error": "",
        "stdout": "hi\n\ufffd\n",
        "stderr": "no\n",
        "stdout_bytes": 5,
        "stderr_bytes": 3,
    }


async def test_a_named_command_travels_as_a_catalogue_call(deck: Deck) -> None:
    """S1-9, S1-25"""
    await deck.agent("a1")
    body = {"ident": "ps", "params": {"pid": "1"}, "linux_ns_pid": 4711}
    answer, view = await ended(
        deck, deck.http.post("/api/agents/a1/run", json=body), S.SUCCEEDED, exit_code=0
    )
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert view.spec.command_type == "catalogue"
    assert msgspec.json.decode(view.spec.payload) == body


async def test_the_wait_ends_with_the_source_systems_text_and_the_command_goes_on(
    deck: Deck, tmp_path: Any
) -> None:
    """S1-18"""
    await deck.agent("a1")
    settings = ApiSettings(port=0, port_file=tmp_path / "quick", run_timeout_s=0.5)
    async with running_api(deck, settings) as quick:
        answer = await quick.post("/api/agents/a1/run", json={"command": "sleep 60"})
        own = await quick.post("/api/agents/a1/run", json={"command": "sleep 60", "timeout": 0.25})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (504, "agent_timeout")
    assert problem["detail"] == "timeout(0.5s) to run agent command"
    assert own.json()["detail"] == "timeout(0.25s) to run agent command"
    assert (await deck.command(problem["command_id"])).state is S.PENDING
    assert ApiSettings().run_timeout_s == 30  # so that the text is `timeout(30s) to run agent command`


async def test_a_command_that_timed_out_itself_is_the_same_answer(deck: Deck) -> None:
    """S1-18"""
    await deck.agent("a1")
    call = deck.http.get("/api/agents/a1/commands")
    answer, _ = await ended(deck, call, S.TIMED_OUT, reason="execution")
    assert (answer.status_code, answer.json()["detail"]) == (504, "timeout(30s) to run agent command")


@pytest.mark.parametrize("path", ["commands", "namespaces", "run"])
async def test_unknown_and_unreachable_agents_are_told_apart(deck: Deck, path: str) -> None:
    """S1-18, S0-18"""
    await deck.agent("a1", linked=False)

    async def call(agent_id: str) -> httpx.Response:
        url = f"/api/agents/{agent_id}/{path}"
        return await (deck.http.post(url, json={"command": "true"}) if path == "run" else deck.http.get(url))

    unknown, offline = await call("nobody"), await call("a1")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_agent")
    problem = offline.json()
    assert (offline.status_code, problem["detail"]) == (409, "client not connected: a1")
    assert (await deck.command(problem["command_id"])).state is S.UNREACHABLE


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "command"),
        ({"command": "true", "ident": "ps"}, "command"),
        ({"command": "true", "params": {}}, "params"),
        ({"command": "true", "linux_ns_pid": 1}, "linux_ns_pid"),
        ({"ident": "ps", "linux_ns_pid": 0}, "linux_ns_pid"),
        ({"ident": "ps", "params": {"pid": 1}}, "params[...]"),
        ({"command": "true", "timeout": 0}, "timeout"),
        ({"command": "true", "timeout": 301}, "timeout"),
        ({"command": ""}, "payload.command"),
        ({"cmd": "true"}, "cmd"),
    ],
)
async def test_bad_runs_name_the_field(deck: Deck, body: dict[str, Any], field: str) -> None:
    """S0-28"""
    await deck.agent("a1")
    answer = await deck.http.post("/api/agents/a1/run", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await deck.queued() == []


async def test_a_repeated_run_with_the_same_key_is_one_command(deck: Deck) -> None:
    """S1-11"""
    await deck.agent("a1")
    url, body, key = "/api/agents/a1/run", {"command": "true"}, {"Idempotency-Key": "k1"}
    first, view = await ended(deck, deck.http.post(url, json=body, headers=key), S.SUCCEEDED, exit_code=0)
    second = await deck.http.post(url, json=body, headers=key)
    assert second.json() == first.json()
    assert second.json()["command_id"] == view.command_id


async def test_a_streamed_run_without_a_broadcaster_behind_it_says_where_the_stream_is(deck: Deck) -> None:
    """S1-7"""
    await deck.agent("a1")
    answer = await deck.http.post(
        "/api/agents/a1/run", json={"command": "true"}, headers={"Accept": "text/event-stream"}
    )
    view = await taken_in(deck)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/api/command/{view.command_id}/events")
