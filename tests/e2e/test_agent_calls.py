"""One agent asked over HTTP while the caller waits, over both carriers of ours."""

import base64

import httpx_sse
import pytest

from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

CARRIERS = ("quic", "grpc")


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_an_agent_tells_its_commands_and_runs_one_by_name(system: System, carrier: str) -> None:
    """S1-9, S1-11: LIST_COMMAND and RUN_COMMAND for an agent of ours."""
    agent = system.agent_on(carrier)

    listed = await system.get(f"/api/agents/{agent}/commands")
    ran = await system.post(f"/api/agents/{agent}/run", {"ident": "uname"}, status=200)

    assert {"ps", "df", "ip addr", "uname"} <= {command["ident"] for command in listed["commands"]}
    assert (ran["success"], ran["exit_code"], ran["agent_id"]) == (True, 0, agent)
    assert ran["stdout"].startswith("Linux ")


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_an_agent_tells_its_namespaces(system: System, carrier: str) -> None:
    """S1-10: LIST_NAMESPACE for an agent of ours."""
    listed = await system.get(f"/api/agents/{system.agent_on(carrier)}/namespaces")

    kinds = {namespace["ns_type"] for namespace in listed["namespaces"]}
    assert {"net", "mnt", "pid"} <= kinds
    assert all(namespace["pid"] > 0 for namespace in listed["namespaces"])


async def test_a_run_tells_how_it_failed_and_what_it_printed(system: System) -> None:
    """S1-11, S1-18: an end of its own is an answer, whatever the exit code; a bad name is the agent's error."""
    agent = system.agents[0]

    failed = await system.post(
        f"/api/agents/{agent}/run", {"command": "echo out; echo err >&2; exit 7"}, status=200
    )
    unknown = await system.post(f"/api/agents/{agent}/run", {"ident": "nosuch"}, status=502)

    assert (failed["success"], failed["exit_code"], failed["stdout"], failed["stderr"]) == (
        False,
        7,
        "out\n",
        "err\n",
    )
    assert (unknown["state"], unknown["detail"]) == ("rejected", "unknown command: nosuch")


async def test_a_run_that_takes_longer_goes_on_after_the_answer(system: System) -> None:
    """S1-18, S0-34: the source's text, and a command that ends all the same."""
    body = {"command": "sleep 3; echo done", "timeout": 0.5}

    late = await system.post(f"/api/agents/{system.agents[0]}/run", body, status=504)
    command = await system.ended(late["command_id"])

    assert late["detail"] == "timeout(0.5s) to run agent command"
    assert command["status"] == "completed"
    assert await system.output(late["command_id"]) == b"done\n"


async def test_a_run_is_followed_in_its_own_answer(system: System) -> None:
    """S1-7: incremental, over the port of the API."""
    path = f"/api/agents/{system.agents[0]}/run"
    kinds: list[str] = []
    output = b""
    async with httpx_sse.aconnect_sse(
        system.client, "POST", path, json={"command": "echo one; echo two"}, timeout=60
    ) as stream:
        async for event in stream.aiter_sse():
            if event.data:  # else it is `retry:`
                kinds.append(event.event)
            if event.event == "output":
                output += base64.b64decode(event.json()["data"])

    assert (kinds[0], kinds[-1]) == ("snapshot", "end")
    assert output == b"one\ntwo\n"
