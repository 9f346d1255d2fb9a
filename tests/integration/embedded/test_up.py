"""`qd up` as a whole: ready file, restarts, refusals, and an end that leaves nothing behind."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from quarterdeck.testing.deck import Deck, gone
from quarterdeck.testing.session_loop import run_in_new_loop

pytestmark = pytest.mark.xdist_group("embedded")

SERVICES = {"api", "dispatcher", "quic-gateway", "grpc-gateway", "aggregator", "broadcaster"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deck]:
    """One system for the tests that leave it running, with two gateways of a kind and an agent on each carrier."""
    deck = Deck(tmp_path_factory.mktemp("up") / "data", "--agents", "2", "--gateways-per-kind", "2")
    run_in_new_loop(deck.start())
    yield deck
    run_in_new_loop(deck.stop())


def test_ready_file_names_every_process_and_address(shared: Deck) -> None:
    """And is its owner's alone: it carries the token. Several gateways of a kind are numbered."""
    ready = shared.ready

    assert set(ready["pids"]) == SERVICES | {"nats", "redis", "quic-gateway-2", "grpc-gateway-2"}
    assert {name: agent["carrier"] for name, agent in ready["agents"].items()} == {
        "agent-1": "quic",
        "agent-2": "grpc",
    }
    assert all(psutil.pid_exists(pid) for pid in shared.pids.values())
    assert ready["api"].startswith("http://127.0.0.1:")
    assert ready["quic"].startswith("127.0.0.1:")
    assert Path(ready["ca"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert stat.S_IMODE(shared.ready_path.stat().st_mode) == 0o600
    assert json.loads((shared.data_dir / "run" / "ready.json").read_text()) == ready


async def test_second_system_on_the_same_directory_is_refused(shared: Deck) -> None:
    """By name, and without harm to the first."""
    second = await shared.qd("up", "--data-dir", str(shared.data_dir), "--port", "0", expect=1)

    assert f"process {shared.supervisor.pid}" in second.stderr.decode()
    await shared.qd("agents")


async def test_taken_port_is_told_with_the_flag_that_helps(shared: Deck, tmp_path: Path) -> None:
    """Before anything is started."""
    port = shared.ready["api"].rpartition(":")[2]

    done = await shared.qd("up", "--data-dir", str(tmp_path / "other"), "--port", port, expect=1)

    assert "--port 0" in done.stderr.decode()


@pytest.mark.parametrize(
    ("flag", "value", "named"),
    [
        ("--data-dir", "{file}", "--data-dir"),
        ("--port", "65536", "--port"),
        ("--ready-file", "{file}/ready.json", "--ready-file"),
    ],
)
async def test_what_cannot_be_used_is_told_in_a_line(
    shared: Deck, tmp_path: Path, flag: str, value: str, named: str
) -> None:
    """Which flag it was, and no traceback; nothing is started."""
    file = tmp_path / "file"
    file.touch()
    flags = {"--data-dir": str(tmp_path / "other"), "--port": "0", "--grpc-port": "0", "--quic-port": "0"}
    flags[flag] = value.format(file=file)

    done = await shared.qd("up", *(word for pair in flags.items() for word in pair), expect=1)

    told = (done.stderr + done.stdout).decode()
    assert named in told
    assert "Traceback" not in told


async def test_every_process_that_crashes_comes_back_and_the_ready_file_stays_current(shared: Deck) -> None:
    """S1-27: all at once, brokers included; addresses stay, and what is ordered afterwards works."""
    before = shared.ready

    await asyncio.gather(*(shared.kill_and_await_restart(name) for name in shared.pids))

    after = shared.ready
    addresses = ("api", "grpc", "quic", "nats", "redis", "token")
    assert [after[name] for name in addresses] == [before[name] for name in addresses]
    done = await shared.qd("run", "--all", "--queue-for", "60s", "echo back")
    assert done.stdout.count(b"back") == 2


async def test_stopped_system_leaves_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """S0-35: state, addresses, token and the agents' enrolment survive a stop and a start."""
    deck = Deck(tmp_path / "data", "--agents", "2")
    await deck.start()
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

    # The second life ends without a chance to tidy up; the kernel takes every child with its parent.
    pids = list(deck.pids.values())
    os.kill(deck.supervisor.pid, signal.SIGKILL)
    await deck.supervisor.wait()
    assert await gone(pids) == []
