"""`qd up` as a whole: ready file, restarts, refusals, and an end that leaves nothing behind."""

import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from quarterdeck.testing.deck import Deck, gone

pytestmark = pytest.mark.xdist_group("embedded")

SERVICES = {"api", "dispatcher", "quic-gateway", "grpc-gateway", "aggregator", "broadcaster"}


@pytest.fixture
async def deck(tmp_path: Path) -> AsyncIterator[Deck]:
    """A system of the test's own, with one agent per carrier."""
    deck = Deck(tmp_path / "data", "--agents", "2")
    await deck.start()
    yield deck
    await deck.stop()


async def test_ready_file_names_every_process_and_address(tmp_path: Path) -> None:
    """And is its owner's alone: it carries the token. Several gateways of a kind are numbered."""
    deck = Deck(tmp_path / "data", "--agents", "2", "--gateways-per-kind", "2")
    await deck.start()

    ready = deck.ready
    assert set(ready["pids"]) == SERVICES | {"nats", "redis", "quic-gateway-2", "grpc-gateway-2"}
    assert {name: agent["carrier"] for name, agent in ready["agents"].items()} == {
        "agent-1": "quic",
        "agent-2": "grpc",
    }
    assert all(psutil.pid_exists(pid) for pid in deck.pids.values())
    assert ready["api"].startswith("http://127.0.0.1:")
    assert ready["quic"].startswith("127.0.0.1:")
    assert Path(ready["ca"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert stat.S_IMODE(deck.ready_path.stat().st_mode) == 0o600
    assert json.loads((deck.data_dir / "run" / "ready.json").read_text()) == ready
    await deck.stop()


async def test_every_crashed_process_comes_back_and_the_ready_file_stays_current(deck: Deck) -> None:
    """S1-27: addresses stay; what is ordered afterwards works."""
    before = deck.ready

    for name in (
        "nats",
        "redis",
        "api",
        "broadcaster",
        "dispatcher",
        "aggregator",
        "grpc-gateway",
        "agent-1",
    ):
        await deck.kill_and_await_restart(name)

    after = deck.ready
    addresses = ("api", "grpc", "quic", "nats", "redis", "token")
    assert [after[name] for name in addresses] == [before[name] for name in addresses]
    done = await deck.qd("run", "--all", "--queue-for", "30s", "echo back")
    assert done.stdout.count(b"back") == 2


async def test_second_system_on_the_same_directory_is_refused(deck: Deck) -> None:
    """By name, and without harm to the first."""
    second = await deck.qd("up", "--data-dir", str(deck.data_dir), "--port", "0", expect=1)

    assert f"process {deck.supervisor.pid}" in second.stderr.decode()
    await deck.qd("agents")


async def test_stopped_system_leaves_nothing_and_goes_on_where_it_was(deck: Deck) -> None:
    """S0-35: state, addresses, token and the agents' enrolment survive a stop and a start."""
    run_id = (await deck.qd("run", "-d", "--all", "echo kept")).stdout.decode().strip()
    await deck.qd("get", "--wait", run_id)
    before, pids = deck.ready, list(deck.pids.values())

    assert await deck.stop() == 0
    assert await gone(pids) == []
    assert not deck.ready_path.exists()
    await deck.start()

    after = deck.ready
    assert [after[name] for name in ("api", "token", "ca")] == [
        before[name] for name in ("api", "token", "ca")
    ]
    shown = json.loads((await deck.qd("get", run_id, "--format", "json")).stdout)
    assert shown["overall_status"] == "COMPLETED_SUCCESSFULLY"
    assert (await deck.qd("tail", run_id)).stdout.count(b"kept") == 2
    assert (await deck.qd("run", "--all", "echo again")).stdout.count(b"again") == 2


async def test_killed_supervisor_takes_every_child_with_it(deck: Deck) -> None:
    """SIGKILL gives it no chance to tidy up; the kernel does."""
    pids = list(deck.pids.values())

    os.kill(deck.supervisor.pid, signal.SIGKILL)
    await deck.supervisor.wait()

    assert await gone(pids) == []


async def test_taken_port_is_told_with_the_flag_that_helps(deck: Deck, tmp_path: Path) -> None:
    """Before anything is started."""
    port = deck.ready["api"].rpartition(":")[2]

    done = await deck.qd("up", "--data-dir", str(tmp_path / "other"), "--port", port, expect=1)

    assert "--port 0" in done.stderr.decode()
