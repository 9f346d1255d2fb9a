"""Commands of DeepFlow agents over real sockets: the sample agent knows nothing of our code."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from quarterdeck.contracts.reports import Rejected
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Bus
from quarterdeck.testing.eventually import eventually
from tests.conformance.handpacked import nested, text
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.deepflow_field import Field, deepflow_field


@pytest.fixture
async def field(bus: Bus, aggregator: Aggregator, tmp_path: Path) -> AsyncIterator[Field]:
    async with deepflow_field(bus, aggregator, tmp_path) as field:
        yield field


async def test_catalogue_command_runs(field: Field) -> None:
    """S1-8, S1-11"""
    agent = await field.connected()

    command_id = await field.run("say", what="what the operator wrote")

    result = await field.result(command_id)
    assert (result.end, result.exit_code) == (CommandState.SUCCEEDED, 0)
    assert await field.output(command_id) == b"what the operator wrote"
    assert agent.requests[0].integer(1) == 2


async def test_large_output_is_exact(field: Field) -> None:
    """S1-8, S1-20: in chunks of no more than was asked for."""
    await field.connected()

    command_id = await field.run("zeros", bytes="3000001")

    result = await field.result(command_id)
    content = b"\0" * 3_000_001
    assert (result.end, result.stdout.length) == (CommandState.SUCCEEDED, len(content))
    assert result.stdout.stored_sha256 == hashlib.sha256(content).digest()
    assert await field.output(command_id) == content


@pytest.mark.parametrize(
    ("ident", "output", "error", "exit_code"),
    [
        ("fail", b"", "no such thing\n", 3),
        ("half", b"half\n", "broken\n", 4),
        ("nothing", b"", "command not found for id nothing", None),
    ],
)
async def test_failure_carries_what_the_agent_said(
    field: Field, ident: str, output: bytes, error: str, exit_code: int | None
) -> None:
    """S1-18: stderr comes as errmsg."""
    await field.connected()

    result = await field.result(command_id := await field.run(ident))

    assert (result.end, result.error, result.exit_code) == (CommandState.FAILED, error, exit_code)
    assert await field.output(command_id) == output


async def test_command_without_output_succeeds(field: Field) -> None:
    await field.connected()
    assert (await field.result(await field.run("quiet"))).end is CommandState.SUCCEEDED


async def test_agent_lists_its_commands_and_namespaces(field: Field) -> None:
    """S1-9, S1-10"""
    await field.connected()

    commands = await field.result(await field.order("list_commands"))
    namespaces = await field.result(await field.order("list_namespaces"))

    assert [command["ident"] for command in json.loads(commands.result)["commands"]][:2] == ["hello", "say"]
    kinds = {namespace["ns_type"] for namespace in json.loads(namespaces.result)["namespaces"]}
    assert {"net", "mnt", "pid"} <= kinds


async def test_second_command_waits_for_the_first_and_lists_do_not(field: Field) -> None:
    """S1-16: in the agent it would overwrite the first."""
    agent = await field.connected(deaf=True)
    first, second = await field.run("hello"), await field.run("hello")
    listed = await field.order("list_commands")

    run, listing = await agent.asked(2)
    assert (run.integer(2), listing.integer(2)) == (2, 0)
    await agent.say(listing.integer(1), nested(4, text(6, "ps")))
    assert (await field.result(listed)).end is CommandState.SUCCEEDED
    assert len(agent.requests) == 2

    await agent.say_error(run.integer(1), "not today")
    assert (await field.result(first)).error == "not today"
    *_, last = await agent.asked(3)
    await agent.say_error(last.integer(1), "nor tomorrow")
    assert (await field.result(second)).error == "nor tomorrow"


@pytest.mark.parametrize(
    ("options", "reason"), [({"wrong_md5": True}, "md5_mismatch"), ({"wrong_total_len": True}, "protocol")]
)
async def test_answer_that_does_not_hold_together_fails_its_command_alone(
    field: Field, options: dict[str, bool], reason: str
) -> None:
    """S1-8"""
    await field.connected(**options)

    result = await field.result(await field.run("hello"))
    assert (result.end, result.reason) == (CommandState.FAILED, reason)
    assert (await field.result(await field.run("quiet"))).end is CommandState.SUCCEEDED


async def test_shell_is_rejected_before_anything_is_sent(field: Field) -> None:
    """S1-25"""
    agent = await field.connected()

    await field.order("shell", {"command": "id"})
    await field.aggregator.wait(lambda reports: any(isinstance(report, Rejected) for report in reports))

    [rejected] = [report for report in field.aggregator.reports if isinstance(report, Rejected)]
    assert rejected.reason == "unsupported_by_dialect"
    await field.result(await field.run("hello"))
    assert [request.integer(2) for request in agent.requests] == [2]


async def test_stopped_command_ends_here_and_its_late_answer_is_fenced(field: Field) -> None:
    """I8, S1-18"""
    agent = await field.connected(deaf=True)
    command_id = await field.run("wait", seconds="600")
    [request] = await agent.asked(1)

    await field.terminate(command_id)

    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.TERMINATED, "may_still_run")
    assert result.error == "agent may still run it"
    with capture_logs() as logged:
        for _ in range(3):
            await agent.say_chunk(request.integer(1), b"late")
        await agent.say_heartbeat()
        await eventually(lambda: agent.heartbeat_answers == 2)
    assert [line["what"] for line in logged if line["event"] == "gateway.message_fenced"] == ["a late answer"]
    assert await field.output(command_id) == b""


async def test_command_that_outlasts_its_timeout_is_given_up(field: Field) -> None:
    """S1-18: the gateway keeps the time, the agent knows of none."""
    await field.connected(deaf=True)
    command_id = await field.order("catalogue", {"ident": "wait"}, timeout_ms=50)

    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "may_still_run")
