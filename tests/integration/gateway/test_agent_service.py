"""Agents of the dialect agent_service on the real gRPC gateway, played by a sample agent that knows only the wire."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.contracts import reports
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import agent_key, link_key
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.agent_service import (
    FAILURE,
    SUCCESS,
    NotAccepted,
)
from tests.integration.gateway.conftest import Aggregator
from tests.integration.gateway.vps import SECRET, TENANT, Field, fenced, vps_field


@pytest.fixture
async def field(bus: Bus, aggregator: Aggregator, tmp_path: Path) -> AsyncIterator[Field]:
    async with vps_field(bus, aggregator, tmp_path) as field:
        yield field


# ---- Coming


async def test_handshake_makes_a_link_and_tells_what_the_host_is(field: Field) -> None:
    """S4-7, S4-14"""
    agent = await field.connected()

    registry = field.gateway.ctx.registry
    link = await registry.links.get(link_key(TENANT, "vps-7"))
    assert link is not None
    assert (link.value.dialect, link.value.carrier, link.value.end) == ("agent_service", "grpc", None)
    record = await registry.agents.get(agent_key(TENANT, "vps-7"))
    assert record is not None
    assert (record.value.version, record.value.name) == ("1.2.3", "Server 7")
    assert record.value.facts["public_ip_addresses"] == "192.0.2.7,2001:db8::7"
    assert set(record.value.capabilities) == {"exec", "shell"}
    assert agent.server_time_ms > 0


async def test_agent_that_says_the_same_of_itself_again_costs_no_write(field: Field) -> None:
    await field.connected()
    agents, key = field.gateway.ctx.registry.agents, agent_key(TENANT, "vps-7")
    before = await agents.get(key)

    await field.agent().connect()

    assert before is not None
    assert await agents.get(key) == before


@pytest.mark.parametrize(
    ("vps_db_id", "secret"), [(7, "guess"), (7, ""), (8, SECRET), (0, SECRET), (-1, SECRET)]
)
async def test_agent_that_proves_nothing_is_told_so_and_let_go(
    field: Field, vps_db_id: int, secret: str
) -> None:
    """S0-27, S4-7"""
    await field.enrolled(7)

    with pytest.raises(NotAccepted) as refusal:
        await field.agent(vps_db_id, secret=secret).connect()

    assert str(refusal.value) != ""
    assert await field.gateway.ctx.registry.links.get(link_key(TENANT, "vps-7")) is None


async def test_first_message_that_is_no_handshake_ends_the_call(field: Field) -> None:
    """S4-7"""
    await field.enrolled()
    agent = field.agent()
    await agent.dial()

    await agent.say_result("c-1", SUCCESS)

    ack = await agent.hear()
    assert ack is not None
    assert (ack.nested(2).integer(1), ack.nested(2).text(2)) == (0, "the first message is the handshake")
    assert await agent.hear() is None


async def test_newer_handshake_replaces_the_older_link(field: Field) -> None:
    """S4-7: and what ran on the older one has no known outcome."""
    older = await field.connected()
    command_id = await field.order("sleep 60")
    await eventually(lambda: older.orders)

    newer = await field.agent().connect()

    await older.ended.wait()
    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")
    again = await field.order("echo again")
    assert (await field.report(reports.Result, again)).end is CommandState.SUCCEEDED
    assert [order.text(1) for order in newer.orders] == [again]


# ---- Running


async def test_command_runs_and_its_output_is_exact(field: Field) -> None:
    """S4-16F, S4-17, S4-18, S4-35"""
    await field.connected()

    command_id = await field.order(r"printf '\377\000raw'; head -c 3000000 /dev/zero; echo oops >&2; exit 3")

    result = await field.report(reports.Result, command_id)
    expected = b"\xff\x00raw" + bytes(3_000_000)
    assert (result.end, result.exit_code) == (CommandState.FAILED, 3)
    assert result.stdout.sha256 == result.stdout.stored_sha256 == hashlib.sha256(expected).digest()
    assert await field.stored(command_id) == expected
    assert await field.stored(command_id, "stderr") == b"oops\n"
    assert field.kinds(command_id) == ["Accepted", "Started", "Result"]


@pytest.mark.parametrize("line", ["echo hi", "true"])
async def test_agent_of_before_acceptances_passes_through_the_same_states(field: Field, line: str) -> None:
    """S4-16F: the first output, or the result, stands for the acceptance."""
    await field.connected(says_accepted=False)

    command_id = await field.order(line)

    assert (await field.report(reports.Result, command_id)).end is CommandState.SUCCEEDED
    assert field.kinds(command_id)[-1] == "Result"
    assert field.kinds(command_id) in (["Accepted", "Started", "Result"], ["Result"])


async def test_script_and_argv_arrive_as_what_they_are(field: Field) -> None:
    """S4-39F, S0-28"""
    agent = await field.connected()

    script = await field.order("", payload={"script": "#!/usr/bin/env python3\nprint('in python')\n"})
    argv = await field.order("", payload={"argv": ["printf", "%s", "$HOME; id"]}, command_type="exec")

    await field.report(reports.Result, script)
    await field.report(reports.Result, argv)
    assert await field.stored(script) == b"in python\n"
    assert await field.stored(argv) == b"$HOME; id"
    assert sorted(order.integer(2) for order in agent.orders) == [1, 2]


async def test_what_the_protocol_has_no_word_for_is_not_sent(field: Field) -> None:
    """4-surfaces: rejected, unsupported_by_dialect"""
    agent = await field.connected()

    refused = await field.order("", payload={"delay_seconds": 1}, command_type="restart")
    carried = await field.order("true")

    rejected = await field.report(reports.Rejected, refused)
    assert rejected.reason == "unsupported_by_dialect"
    await field.report(reports.Result, carried)
    assert [order.text(1) for order in agent.orders] == [carried]


async def test_command_that_cannot_start_says_why(field: Field) -> None:
    """S4-30"""
    agent = await field.connected(deaf=True)
    command_id = await field.order("true")
    await eventually(lambda: agent.orders)

    await agent.say_result(command_id, FAILURE, error="cannot start: no such directory")

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.exit_code) == (CommandState.FAILED, None)
    assert result.error == "cannot start: no such directory"


# ---- Stopping


async def test_terminated_command_is_killed_and_says_so(field: Field) -> None:
    """S4-24, S4-27"""
    agent = await field.connected()
    command_id = await field.order("trap '' TERM; echo up; sleep 60 & wait; sleep 60")
    await field.report(reports.Started, command_id)

    await field.terminate(command_id)

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.TERMINATED, "")
    assert agent.terminations == [command_id]


async def test_termination_of_what_the_agent_does_not_run_leaves_no_command_behind(field: Field) -> None:
    """S4-28: it is asked twice, and then the end is not known."""
    agent = await field.connected(deaf=True)
    command_id = await field.order("true")
    await eventually(lambda: agent.orders)

    await field.terminate(command_id)

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.error) == (CommandState.OUTCOME_UNKNOWN, "not found")
    assert agent.terminations == [command_id, command_id]


async def test_agent_keeps_the_timeout_that_came_with_the_order(field: Field) -> None:
    """S4-29"""
    agent = await field.connected()

    command_id = await field.order("sleep 60", timeout_ms=1000)

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "execution")
    assert agent.orders[0].integer(5) == 1


async def test_gateway_keeps_the_timeout_for_an_agent_that_does_not(field: Field) -> None:
    """S4-29"""
    agent = await field.connected(keeps_timeout=False)

    command_id = await field.order("echo up; sleep 60", timeout_ms=200)

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "execution")
    assert agent.terminations == [command_id]
    assert await field.stored(command_id) == b"up\n"


async def test_command_that_falls_silent_is_stopped(field: Field) -> None:
    """S4-34: the protocol has no such limit, so the gateway keeps it."""
    agent = await field.connected()

    command_id = await field.order("echo up; sleep 60", no_output_timeout_ms=300)

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.TIMED_OUT, "no_output")
    assert agent.terminations == [command_id]
    assert await field.stored(command_id) == b"up\n"


async def test_commands_of_an_agent_run_side_by_side(field: Field, tmp_path: Path) -> None:
    """S4-26, S0-31: each has its own process, and stopping one leaves the other."""
    await field.connected()
    waiting = await field.order(f"until test -e {tmp_path}/go; do sleep 0.05; done")
    stopped = await field.order("echo up; sleep 60")
    await field.report(reports.Started, stopped)

    await field.terminate(stopped)
    assert (await field.report(reports.Result, stopped)).end is CommandState.TERMINATED
    opening = await field.order(f"touch {tmp_path}/go")

    assert (await field.report(reports.Result, opening)).end is CommandState.SUCCEEDED
    assert (await field.report(reports.Result, waiting)).end is CommandState.SUCCEEDED


async def test_agent_that_does_not_stop_ends_nobodys_wait(field: Field) -> None:
    """S4-33: it ends here with what is not known, and late answers change nothing."""
    agent = await field.connected(immortal=True)
    command_id = await field.order("echo up; sleep 60")
    await field.report(reports.Started, command_id)

    await field.terminate(command_id)

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.TERMINATED, "may_still_run")
    before = fenced()
    await agent.say_output(command_id, b"late")
    await eventually(lambda: fenced() > before)
    assert field.kinds(command_id).count("Result") == 1


async def test_revoked_agent_is_told_and_stays_out(field: Field) -> None:
    """S0-27"""
    agent = await field.connected()

    await ForeignAgents(field.gateway.ctx.registry).revoke(TENANT, "vps-7")

    await asyncio.wait_for(agent.ended.wait(), 20)
    assert agent.refusal == "revoked"
    with pytest.raises(NotAccepted):
        await field.agent().connect()


async def test_agent_that_hangs_up_leaves_no_command_open(field: Field) -> None:
    """S4-33, S0-36, S0-37"""
    agent = await field.connected()
    command_id = await field.order("echo up; sleep 60")
    await field.report(reports.Started, command_id)

    await agent.close()

    result = await field.report(reports.Result, command_id)
    assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")
    assert await field.stored(command_id) == b"up\n"
    back = await field.agent().connect()
    again = await field.order("true")
    assert (await field.report(reports.Result, again)).end is CommandState.SUCCEEDED
    assert not back.ended.is_set()
