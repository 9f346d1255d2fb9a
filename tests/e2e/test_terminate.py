"""Stopping: one, all, and everything that a command left behind."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from quarterdeck.testing.eventually import eventually
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

TREE = """
import os, signal, sys, time
def note(who): open({path!r}, "a").write(f"{{who}} {{os.getpid()}}\\n")
if os.fork() == 0:                      # double fork: adopted by nobody of ours
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("daemon"); time.sleep(600)
    os._exit(0)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("stubborn"); time.sleep(600)
note("leader"); print("ready", flush=True); time.sleep(600)
"""


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _pids(path: Path) -> dict[str, int]:
    return {who: int(pid) for who, pid in (line.split() for line in path.read_text().splitlines())}


@pytest.mark.parametrize("carrier", ["quic", "grpc"])
async def test_terminated_means_that_the_whole_tree_is_gone(
    system: System, carrier: str, tmp_path: Path
) -> None:
    """I8, S4-6, S4-25, S4-27: leader, a child that ignores SIGTERM, and a double-forked daemon in its own session."""
    path = tmp_path / "pids"
    command_id = await system.command(
        system.agent_on(carrier),
        "exec",
        {"argv": ["python3", "-c", TREE.format(path=str(path))]},
        timeout=300,
        grace=1,
    )
    await eventually(lambda: path.exists() and len(_pids(path)) == 3)

    answer = await system.client.post(f"/api/command/{command_id}/terminate")
    command = await system.ended(command_id)

    assert answer.status_code in {200, 202}
    assert (command["status"], command["error"]) == ("failed", "terminated")
    assert {who: _alive(pid) for who, pid in _pids(path).items()} == {
        "leader": False,
        "stubborn": False,
        "daemon": False,
    }


async def test_a_batch_is_stopped_midway(system: System) -> None:
    """S4-5, S4-24: TERMINATING, then TERMINATED, output up to then kept."""
    batch_id = await system.batch("echo started; sleep 600", system.agents)

    async def all_started() -> bool:
        batch = await system.get(f"/api/batch_commands/{batch_id}")
        return all(task["output_stream_summary"] == ["started"] for task in batch["tasks"])

    await eventually(all_started)
    answer = await system.client.post(f"/api/batch_commands/{batch_id}/terminate")
    batch = await system.finished(batch_id)

    assert answer.status_code in {200, 202}
    assert batch["overall_status"] == "TERMINATED"
    assert {task["status"] for task in batch["tasks"]} == {"TERMINATED"}


async def test_one_task_of_a_batch_is_stopped_and_the_others_go_on(system: System) -> None:
    """S4-6: stopping single tasks ends the batch with errors, not as terminated."""
    gate = system.data_dir / "gate-one-task"
    batch_id = await system.batch(f"while ! test -e {gate}; do sleep 0.05; done", system.agents[:2])
    tasks = (await system.get(f"/api/batch_commands/{batch_id}"))["tasks"]
    child = tasks[0]["child_command_id"]

    async def executing() -> bool:
        batch = await system.get(f"/api/batch_commands/{batch_id}")
        return all(task["status"] == "EXECUTING" for task in batch["tasks"])

    await eventually(executing)
    await system.client.post(f"/api/batch_commands/{batch_id}/tasks/{child}/terminate")
    await system.ended(child)
    gate.touch()
    batch = await system.finished(batch_id)

    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert [task["status"] for task in batch["tasks"]] == ["TERMINATED", "SUCCESS"]


async def test_a_stop_that_races_the_start_leaves_nothing_running(system: System, tmp_path: Path) -> None:
    """I8: whatever the order, either it never started or it is gone."""
    for number in range(10):
        marker = tmp_path / f"pid-{number}"
        command_id = await system.command(
            system.agents[number % 4],
            "shell",
            {"command": f"echo $$ > {marker}; exec sleep 600"},
            timeout=300,
        )
        await system.client.post(f"/api/command/{command_id}/terminate")
        command = await system.ended(command_id)

        assert (command["status"], command["error"]) == ("failed", "terminated")
        if marker.exists() and (text := marker.read_text().strip()):
            assert not _alive(int(text))


async def test_stopping_what_has_ended_changes_nothing(system: System) -> None:
    command_id = await system.command(system.agents[0], "shell", {"command": "true"})
    before = await system.ended(command_id)

    answer = await system.client.post(f"/api/command/{command_id}/terminate")

    assert answer.status_code < 500
    assert await system.ended(command_id) == before
    assert re.fullmatch(r"completed", before["status"])


async def test_a_daemon_started_on_purpose_outlives_its_command(system: System, tmp_path: Path) -> None:
    """A child that outlives its parent and holds the pipe does not hang the command."""
    path = tmp_path / "pid"
    script = f"(echo $BASHPID > {path}; exec sleep 300) & sleep 0.2; echo parent done"
    command_id = await system.command(system.agents[0], "exec", {"argv": ["bash", "-c", script]})

    async with asyncio.timeout(30):
        command = await system.ended(command_id)

    assert command["status"] == "completed"
    pid = int(path.read_text())
    assert _alive(pid)
    os.kill(pid, 9)
