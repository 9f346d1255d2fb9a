"""Five links at once, one per wire: two of our own agents and one of each other system, told apart by `via` alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.conformance.agents import agent_service, deepflow, quicflow
from tests.e2e.agents import connected
from tests.e2e.system import System, Watched

pytestmark = pytest.mark.asyncio(loop_scope="session")

VPS, DEEPFLOW, QUICFLOW = "vps-7", "df-10-0-0-7-aa-bb-cc-dd-ee-07", "client-001"
WIRES = {
    "quic": {"carrier": "quic", "dialect": "native"},
    "grpc": {"carrier": "grpc", "dialect": "native"},
    VPS: {"carrier": "grpc", "dialect": "agent_service"},
    DEEPFLOW: {"carrier": "grpc", "dialect": "deepflow"},
    QUICFLOW: {"carrier": "quic", "dialect": "quicflow"},
}
"""By agent; our own two by their carrier, since `up` names them."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system that admits strangers, an agent of ours per carrier, and one stand-alone agent of each dialect."""
    options = ("--agents", "2", "--admit-dialects", "--plain-grpc-port", "0")
    directory = tmp_path_factory.mktemp("five") / "data"
    async with System.running(directory, *options) as system, AsyncExitStack() as stack:
        ready = system.ready
        strangers = (
            agent_service.SampleAgent(
                ready["plain_grpc"], agent_service.AgentOptions(vps_db_id=7, secret="s3cret")
            ),
            deepflow.SampleAgent(ready["plain_grpc"]),
            quicflow.SampleClient(ready["quic"], Path(ready["ca"]).read_bytes()),
        )
        for stranger in strangers:
            stack.push_async_callback((await stranger.connect()).close)
        for agent_id in (*system.agents, VPS, DEEPFLOW, QUICFLOW):
            await eventually(partial(connected, system, agent_id), within_s=60)
        yield system


def wires(system: System) -> dict[str, dict[str, str]]:
    """Carrier and dialect by agent id."""
    own = {system.agent_on(carrier): WIRES[carrier] for carrier in ("quic", "grpc")}
    return own | {agent_id: WIRES[agent_id] for agent_id in (VPS, DEEPFLOW, QUICFLOW)}


async def test_every_link_is_shown_with_its_carrier_and_dialect(plane: System) -> None:
    """S1-28"""
    for agent_id, wire in wires(plane).items():
        link = (await plane.get(f"/api/agents/{agent_id}"))["agent"]["link"]
        assert {name: link[name] for name in ("carrier", "dialect")} == wire


async def test_one_batch_runs_where_the_wire_can_carry_it_and_is_rejected_where_not(plane: System) -> None:
    """S4-1, S4-22, S1-25: one summary and one stream of events for all five."""
    expected = wires(plane)
    able = {agent_id for agent_id in expected if agent_id not in {DEEPFLOW, QUICFLOW}}
    batch_id = await plane.batch("echo from one of five", list(expected))

    events = [event async for event in plane.watch(f"/api/batch_commands/{batch_id}/events")]
    batch = await plane.finished(batch_id)

    tasks: dict[str, dict[str, Any]] = {task["vps_id"]: task for task in batch["tasks"]}
    assert {agent_id: task["via"] for agent_id, task in tasks.items()} == expected
    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    for agent_id, task in tasks.items():
        command = (await plane.get(f"/api/command/{task['child_command_id']}"))["command"]
        if agent_id in able:
            assert (task["status"], task["exit_code"], command["state"]) == ("SUCCESS", 0, "succeeded")
            assert task["output_stream_summary"] == ["from one of five"]
        else:
            assert (task["status"], command["state"]) == ("AGENT_REJECTED", "rejected")
            assert command["reason"] == "unsupported_by_dialect"
            assert task["error_message"]
    assert _ends_told(events) == {
        task["child_command_id"]: "succeeded" if agent_id in able else "rejected"
        for agent_id, task in tasks.items()
    }
    assert events[-1].kind == "end"


async def test_what_each_wire_was_made_for_ends_in_the_same_states(plane: System) -> None:
    """S0-10, S1-8: a registered type over quicflow, a catalogue command over deepflow."""
    registered = await plane.command(QUICFLOW, "echo", {"said": "back"})
    catalogued = await plane.command(
        DEEPFLOW, "catalogue", {"ident": "say", "params": {"what": "from the list"}}
    )
    shell = await plane.command(VPS, "shell", {"command": "echo from a shell"})

    told = [await plane.ended(command_id) for command_id in (registered, catalogued, shell)]

    assert [(one["status"], one["state"]) for one in told] == [("completed", "succeeded")] * 3
    assert [one["via"] for one in told] == [WIRES[agent_id] for agent_id in (QUICFLOW, DEEPFLOW, VPS)]
    assert told[0]["result"] == {"said": "back"}
    assert await plane.output(catalogued) == b"from the list"
    assert await plane.output(shell) == b"from a shell\n"


async def test_failures_of_every_wire_are_told_in_the_same_members(plane: System) -> None:
    """S0-20, S1-18, S4-18: the state is one, the text is the agent's own."""
    failing = {
        QUICFLOW: await plane.command(QUICFLOW, "self_destruct", {}),
        DEEPFLOW: await plane.command(DEEPFLOW, "catalogue", {"ident": "fail"}),
        VPS: await plane.command(VPS, "shell", {"command": "exit 3"}),
        **{
            agent_id: await plane.command(agent_id, "shell", {"command": "exit 3"})
            for agent_id in plane.agents
        },
    }

    ended = {agent_id: await plane.ended(command_id) for agent_id, command_id in failing.items()}

    assert {(one["status"], one["state"]) for one in ended.values()} == {("failed", "failed")}
    assert ended[QUICFLOW]["error"] == "unknown command: self_destruct"
    assert ended[DEEPFLOW]["error"] == "no such thing\n"
    assert {one.get("exit_code") for agent_id, one in ended.items() if agent_id != QUICFLOW} == {3}


def _ends_told(events: list[Watched]) -> dict[str, str]:
    """The state in which each command ended, as the stream told it."""
    ends = {"command.completed", "command.rejected"}
    moves = [event.body for event in events if event.kind == "command" and event.body["type"] in ends]
    return {move["data"]["command_id"]: move["data"]["state"] for move in moves}
