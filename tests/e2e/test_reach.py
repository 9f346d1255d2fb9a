"""Who can be reached, who cannot, in what order, and through which gateway."""

import os
import signal
from pathlib import Path

import pytest

from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.links import Carrier
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import Registry
from quarterdeck.embedded.bootstrap import TENANT
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.fleet import Fleet, FleetSettings
from tests.e2e.agents import agent, connected, enrolled_but_away
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_unreachable_machine_is_told_apart_from_those_that_answer(
    system: System, tmp_path: Path
) -> None:
    """S4-14: AGENT_UNREACHABLE for one, SUCCESS for the others."""
    away = await enrolled_but_away(system, "away-1", tmp_path / "away")

    batch = await system.ran("true", [away, *system.agents[:2]])

    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert [task["status"] for task in batch["tasks"]] == ["AGENT_UNREACHABLE", "SUCCESS", "SUCCESS"]


async def test_all_unreachable_is_failed_to_start(system: System, tmp_path: Path) -> None:
    """S4-15"""
    targets = [await enrolled_but_away(system, f"gone-{n}", tmp_path / f"gone-{n}") for n in range(2)]

    batch = await system.ran("true", targets)

    assert batch["overall_status"] == "FAILED_TO_START"


async def test_offline_client_answers_in_seed_0_s_words_and_is_recorded(
    system: System, tmp_path: Path
) -> None:
    """S0-18: 409, `client not connected: <id>`, the command kept beside the error."""
    away = await enrolled_but_away(system, "away-2", tmp_path / "away")
    body = {"client_id": away, "command_type": "shell", "payload": {"command": "true"}, "timeout": 5}

    async def refused() -> bool:
        return (await system.client.post("/api/command", json=body)).status_code == 409

    await eventually(refused, within_s=30)
    answer = await system.client.post("/api/command", json=body)

    problem = answer.json()
    assert (problem["success"], problem["error"]) == (False, f"client not connected: {away}")
    command = (await system.get(f"/api/command/{problem['command_id']}"))["command"]
    assert (command["status"], command["error"]) == ("failed", f"client not connected: {away}")


async def test_a_command_queued_for_an_offline_machine_runs_when_it_is_back(
    system: System, tmp_path: Path
) -> None:
    """Offline machines can be queued for, with an expiry."""
    away = await enrolled_but_away(system, "sleeper", tmp_path / "sleeper")
    batch_id = await system.batch("echo woke", [away], queue_for=120)

    async with agent(system, away, tmp_path / "sleeper"):
        batch = await system.finished(batch_id)

    assert [task["output_stream_summary"] for task in batch["tasks"]] == [["woke"]]


async def test_two_hundred_machines_answer_one_post(system: System, tmp_path: Path) -> None:
    """S0-31, S4-1: one request, two hundred links, two hundred results."""
    ready = system.ready
    host, _, port = ready["grpc"].rpartition(":")
    settings = FleetSettings(
        server=ServerAddress(Carrier.GRPC, host, int(port)),
        ca_pem=Path(ready["ca"]).read_bytes(),
        size=200,
        tenant=TENANT,
    )
    bus = await Bus.connect(ready["nats"], name="fleet")
    fleet = await Fleet.open(settings, Registry(bus))
    targets = settings.agent_ids
    try:

        async def all_connected() -> bool:
            agents = (await system.get("/api/agents", connected="true"))["agents"]
            return {one["agent_id"] for one in agents} >= set(targets)

        await eventually(all_connected)
        body = {"command_type": "noop", "payload": {}, "target_vps_ids": targets}
        batch = await system.finished((await system.post("/api/batch_commands", body))["batch_command_id"])
    finally:
        await fleet.close()
        await bus.close()

    assert batch["overall_status"] == "COMPLETED_SUCCESSFULLY"
    assert [task["vps_id"] for task in batch["tasks"]] == targets


async def test_an_urgent_command_passes_the_bulk_that_waits_at_the_agent(
    system: System, tmp_path: Path
) -> None:
    """S0-32, S0-39F: priority orders the agent's queue too."""
    order = tmp_path / "order"
    gate = tmp_path / "gate"
    async with agent(system, "narrow", tmp_path / "narrow", "--max-parallel", "1"):
        first = await system.command(
            "narrow", "shell", {"command": f"while ! test -e {gate}; do sleep 0.05; done"}
        )
        low = await system.command("narrow", "shell", {"command": f"echo low >> {order}"}, priority=1)
        high = await system.command("narrow", "shell", {"command": f"echo high >> {order}"}, priority=10)

        async def accepted(command_id: str) -> bool:
            command = (await system.get(f"/api/command/{command_id}"))["command"]
            return bool(command["status"] == "executing")

        await eventually(lambda: accepted(low))
        await eventually(lambda: accepted(high))
        gate.touch()
        for command_id in (first, low, high):
            assert (await system.ended(command_id))["status"] == "completed"

    assert order.read_text().split() == ["high", "low"]


async def test_two_gateways_of_a_kind_share_the_agents(tmp_path: Path) -> None:
    """S1-27: when one gateway dies its agent comes back through the other, and commands go on."""
    async with System.running(tmp_path / "data", "--gateways-per-kind", "2") as system:
        pids = system.ready["pids"]
        assert {"grpc-gateway", "grpc-gateway-2", "quic-gateway", "quic-gateway-2"} <= set(pids)
        second = await _second_gateway(system)
        async with (
            agent(system, "left", tmp_path / "left", "--server", second),
            agent(system, "right", tmp_path / "right", server=second),
        ):
            agents = {one["agent_id"]: one for one in (await system.get("/api/agents"))["agents"]}
            batch = await system.ran("echo both", ["left", "right"])
            assert batch["overall_status"] == "COMPLETED_SUCCESSFULLY"
            assert agents["right"]["link"]["carrier"] == "grpc"

            os.kill(pids["grpc-gateway"], signal.SIGKILL)
            batch = await system.ran("echo again", ["left", "right"], queue_for=60)
            assert batch["overall_status"] == "COMPLETED_SUCCESSFULLY"
            await eventually(lambda: connected(system, "left"), within_s=30)


async def _second_gateway(system: System) -> str:
    """Where the second gRPC gateway listens."""
    text = (Path(system.ready["data_dir"]) / "run" / "grpc-gateway-2.port").read_text()
    return f"grpc://127.0.0.1:{int(text)}"
