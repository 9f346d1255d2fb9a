"""Redis loses everything while hundreds of commands are under way; nothing that was answered 202 is lost with it."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio as redis

from quarterdeck.testing.eventually import eventually
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

BATCHES = 40
SINGLES = 80


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system whose Redis these tests empty."""
    async with System.running(tmp_path_factory.mktemp("rebuild") / "data", "--agents", "4") as system:
        yield system


async def _flush(system: System) -> None:
    client = redis.Redis.from_url(system.ready["redis"])
    try:
        await client.flushall()
    finally:
        await client.aclose()


async def _post(system: System, path: str, body: dict[str, object], key: str) -> dict[str, object]:
    """As a careful client does: again under the same key while the answer is 503."""
    async with asyncio.timeout(60):
        while True:
            answer = await system.client.post(path, json=body, headers={"Idempotency-Key": key})
            if answer.status_code == 202:
                answered: dict[str, object] = answer.json()
                return answered
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) >= 1
            await asyncio.sleep(0.2)


async def _whole(system: System) -> bool:
    return (await system.client.get("/health/ready")).status_code == 200


def _printed(text: str) -> str:
    return hashlib.sha256(f"{text}\n".encode()).hexdigest()


async def _under_way(system: System, run: str) -> tuple[dict[str, str], dict[str, str]]:
    """Batches on all agents and single commands, by id, with what each prints."""

    async def batch(index: int) -> tuple[str, str]:
        text = f"{run}-batch-{index}"
        body: dict[str, object] = {
            "command_content": f"sleep 0.{index % 10}; echo {text}",
            "target_vps_ids": system.agents,
            "queue_for": 60,
        }
        answered = await _post(system, "/api/batch_commands", body, f"{run}-b{index}")
        return str(answered["batch_command_id"]), text

    async def single(index: int) -> tuple[str, str]:
        text = f"{run}-single-{index}"
        body: dict[str, object] = {
            "client_id": system.agents[index % len(system.agents)],
            "command_type": "shell",
            "payload": {"command": f"echo {text}"},
            "timeout": 60,
        }
        answered = await _post(system, "/api/command", body, f"{run}-s{index}")
        return str(answered["command_id"]), text

    batches = await asyncio.gather(*(batch(index) for index in range(BATCHES)))
    singles = await asyncio.gather(*(single(index) for index in range(SINGLES)))
    return dict(batches), dict(singles)


async def _all_as_ordered(system: System, batches: dict[str, str], singles: dict[str, str]) -> None:
    for batch_id, text in batches.items():
        ended = await system.finished(batch_id)
        assert ended["overall_status"] == "COMPLETED_SUCCESSFULLY"
        assert len(ended["tasks"]) == len(system.agents)
        for task in ended["tasks"]:
            output = await system.output(task["child_command_id"])
            assert hashlib.sha256(output).hexdigest() == _printed(text)
    for command_id, text in singles.items():
        ended = await system.ended(command_id)
        assert (ended["status"], ended["exit_code"]) == ("completed", 0)
        assert ended["stdout"]["sha256"] == _printed(text)
        assert await system.output(command_id) == f"{text}\n".encode()


async def test_flushed_under_load_everything_that_was_answered_ends_as_ordered(own: System) -> None:
    """I12, I1, I6: commands before, during and after the loss; each printed once, byte-exact, found under its id."""
    before = await _under_way(own, "before")
    loading = asyncio.create_task(_under_way(own, "during"))
    await asyncio.sleep(0)
    await _flush(own)
    during = await loading
    await eventually(lambda: _whole(own), within_s=60)

    for batches, singles in (before, during):
        await _all_as_ordered(own, batches, singles)
    again = await _under_way(own, "before")

    assert {*again[0]} == {*before[0]}
    assert {*again[1]} == {*before[1]}


async def test_a_dispatcher_killed_while_rebuilding_only_delays(own: System) -> None:
    """I12: another rebuild begins when the lease of the first has run out."""
    batches, singles = await _under_way(own, "killed")
    pid = own.ready["pids"]["dispatcher"]
    await _flush(own)
    await asyncio.sleep(0.7)  # into the rebuild, wherever that is: any moment is as good
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: own.ready["pids"].get("dispatcher", pid) != pid, within_s=60)
    await eventually(lambda: _whole(own), within_s=60)

    await _all_as_ordered(own, batches, singles)


async def test_a_forced_rebuild_by_hand_changes_nothing(own: System) -> None:
    """I12: `quarterdeck rebuild --force` on a running system."""
    batches, singles = await _under_way(own, "by-hand")
    await _all_as_ordered(own, batches, singles)
    ready = own.ready
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck.cli", "rebuild", "--force"),
        *("--nats-url", ready["nats"], "--redis-url", ready["redis"]),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    await eventually(lambda: _whole(own), within_s=60)

    assert process.returncode == 0
    assert b"64 shards" in told
    await _all_as_ordered(own, batches, singles)
