"""A rolling restart: every service gets its SIGTERM in turn while commands run, and nobody who ordered them notices."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from quarterdeck.testing.eventually import eventually
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ROUNDS_AT_ONCE = 3


async def test_a_rolling_restart_of_all_services_under_load_fails_nothing(tmp_path: Path) -> None:
    """I1–I4: every command starts once and succeeds, none is unreachable, and each service drains within its time."""
    async with System.running(tmp_path / "data", "--gateways-per-kind", "2", "--agents", "4") as system:
        oracle = tmp_path / "oracle"
        oracle.touch()
        services = [name for name in system.ready["pids"] if name not in {"nats", "redis"}]

        async with _load(system, oracle) as batch_ids:
            for name in services:
                await _terminate(system, name)
                await _grows(batch_ids, by=_ROUNDS_AT_ONCE)
        batches = [await system.finished(batch_id) for batch_id in batch_ids]

        tasks = [task for batch in batches for task in batch["tasks"]]
        assert {batch["overall_status"] for batch in batches} == {"COMPLETED_SUCCESSFULLY"}
        assert sorted(oracle.read_text().split()) == sorted(task["child_command_id"] for task in tasks)
        ended = _ends(system)
        assert set(ended) == set(services)
        assert set(ended.values()) == {0}, "a drain that takes too long has another exit code"


@asynccontextmanager
async def _load(system: System, oracle: Path) -> AsyncIterator[list[str]]:
    """Batches over all agents without a pause, a few at once; yields the ids of those that were answered 202."""
    batch_ids: list[str] = []
    enough = asyncio.Event()
    content = f"echo ${{QUARTERDECK_COMMAND%%.*}} >> {oracle}; sleep 0.3; echo done"

    async def one_after_another() -> None:
        while not enough.is_set():
            batch_id = await _post(system, {"command_content": content, "target_vps_ids": system.agents})
            batch_ids.append(batch_id)
            await _ended(system, batch_id)

    clients = [asyncio.create_task(one_after_another()) for _ in range(_ROUNDS_AT_ONCE)]
    try:
        yield batch_ids
    finally:
        enough.set()
        await asyncio.gather(*clients)


async def _post(system: System, body: dict[str, Any]) -> str:
    """Until it is answered: the same key gives the same batch, whichever request got through."""
    headers = {"Idempotency-Key": uuid4().hex}
    while True:
        try:
            answer = await system.client.post("/api/batch_commands", json=body, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(0.1)  # the api is being restarted
            continue
        if answer.status_code == 202:
            return str(answer.json()["batch_command_id"])
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.1)


async def _ended(system: System, batch_id: str) -> None:
    while True:
        try:
            batch = await system.get(f"/api/batch_commands/{batch_id}", wait=10)
        except (httpx.TransportError, AssertionError):
            await asyncio.sleep(0.1)
            continue
        if batch["overall_status"] not in {"PENDING", "IN_PROGRESS", "TERMINATING"}:
            return


async def _terminate(system: System, name: str) -> None:
    """SIGTERM, and back again."""
    pid = system.ready["pids"][name]
    os.kill(pid, signal.SIGTERM)
    await eventually(lambda: system.ready["pids"].get(name, pid) != pid, within_s=40)


async def _grows(batch_ids: list[str], *, by: int) -> None:
    """Returns when that many more batches were taken in: those that ran during the restart have ended."""
    wanted = len(batch_ids) + by
    await eventually(lambda: len(batch_ids) > wanted, within_s=40)


def _ends(system: System) -> dict[str, int]:
    """Exit codes by child, as the supervisor logged them."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", system.data_dir.with_suffix(".log").read_text(errors="replace"))
    lines = [line for line in text.splitlines() if "supervisor.child_ended" in line]
    found = ((_field(line, "child"), _field(line, "exit_code")) for line in lines)
    return {child: int(code) for child, code in found}


def _field(line: str, name: str) -> str:
    match = re.search(rf'"?{name}"?[=:]\s*"?([\w-]+)', line)
    assert match is not None, line
    return match[1]
