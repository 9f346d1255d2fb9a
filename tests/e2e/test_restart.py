"""Everything may stop and start again: the whole system, one service, a broker."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from tests.e2e.agents import connected
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_state_survives_a_stop_and_a_start_of_everything(tmp_path: Path) -> None:
    """S0-35: batches, commands, output, agents and the token are there again on the same data directory."""
    data_dir = tmp_path / "data"
    async with System.running(data_dir, "--agents", "2") as system:
        token = system.ready["token"]
        before = await system.ran("echo kept", system.agents)
        child = before["tasks"][0]["child_command_id"]

    async with System.running(data_dir, "--agents", "2") as system:
        after = await system.get(f"/api/batch_commands/{before['batch_command_id']}")
        output = await system.output(child)

        async def all_back() -> bool:
            return all([await connected(system, name) for name in system.agents])

        await eventually(all_back, within_s=30)
        again = await system.ran("echo again", system.agents)

        assert system.ready["token"] == token
        assert after == before
        assert output == b"kept\n"
        assert again["overall_status"] == "COMPLETED_SUCCESSFULLY"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A system whose processes these tests may kill."""
    async with System.running(tmp_path_factory.mktemp("own") / "data", "--agents", "2") as system:
        yield system


@pytest.mark.parametrize(
    "service", ["api", "dispatcher", "quic-gateway", "grpc-gateway", "aggregator", "broadcaster"]
)
async def test_a_killed_service_is_restarted_and_loses_nothing(own: System, service: str) -> None:
    """S0-35, S1-27, S4-33: SIGKILL midway; the batch that ran meanwhile ends as if nothing had happened."""
    gate = own.data_dir / f"gate-{service}"
    batch_id = await own.batch(
        f"echo before; while ! test -e {gate}; do sleep 0.05; done; echo after", own.agents
    )

    async def all_started() -> bool:
        batch = await own.get(f"/api/batch_commands/{batch_id}")
        return all(task["output_stream_summary"] for task in batch["tasks"])

    await eventually(all_started)
    pid = own.ready["pids"][service]
    os.kill(pid, signal.SIGKILL)
    gate.touch()
    await eventually(lambda: own.ready["pids"].get(service, pid) != pid, within_s=30)
    await eventually(lambda: _answers(own), within_s=30)
    batch = await own.finished(batch_id)

    assert batch["overall_status"] == "COMPLETED_SUCCESSFULLY"
    for task in batch["tasks"]:
        assert await own.output(task["child_command_id"]) == b"before\nafter\n"


@pytest.mark.parametrize("broker", ["nats", "redis"])
async def test_with_a_broker_away_requests_answer_503_and_recover(own: System, broker: str) -> None:
    """S1-18, S4-36: never a hang; Retry-After; afterwards everything works again by itself."""
    pid = own.ready["pids"][broker]
    body = {"command_content": "echo through", "target_vps_ids": own.agents}
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(40):
            answer = await own.client.post("/api/batch_commands", json=body)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    await eventually(lambda: _works(own), within_s=60)


@pytest.mark.parametrize("broker", ["nats", "redis"])
async def test_a_killed_broker_is_restarted_and_work_goes_on(own: System, broker: str) -> None:
    """S4-33"""
    pid = own.ready["pids"][broker]
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: own.ready["pids"].get(broker, pid) != pid, within_s=30)

    await eventually(lambda: _works(own), within_s=60)


async def _answers(system: System) -> bool:
    try:
        return (await system.client.get("/health/ready")).status_code == 200
    except OSError:
        return False
    except Exception as error:
        if type(error).__module__.startswith("httpx"):
            return False
        raise


async def _works(system: System) -> bool:
    """Whether a batch goes through, from POST to the end."""
    if not await _answers(system):
        return False
    body = {"command_content": "echo works", "target_vps_ids": system.agents, "queue_for": 30}
    answer = await system.client.post("/api/batch_commands", json=body)
    if answer.status_code != 202:
        return False
    batch = await system.finished(answer.json()["batch_command_id"])
    return bool(batch["overall_status"] == "COMPLETED_SUCCESSFULLY")
