"""Guests as targets, end to end: REST → NATS → gateway → agent → a booted virtual machine, and back."""

import asyncio
import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import BootedGuest, HostGuestAgent
from quarterdeck.testing.machines.booted_guest import ECHO_CHANNEL, SPICE_PASSWORD
from tests.e2e.agents import agent
from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

AGENT = "hv1"
TARGET = "hv1/vm1"
MEGABYTES = 40


@pytest.fixture(scope="module")
def options(booted_guest: BootedGuest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Of an agent on the hypervisor of the booted guest, vm1."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "vm1.spice").write_text(f"{SPICE_PASSWORD}\n")
    vms = booted_guest.directory
    return (
        *("--guest-sockets", f"qmp={vms}/{{guest}}/qmp.sock"),
        *("--guest-sockets", f"qga={vms}/{{guest}}/qga.sock"),
        *("--guest-sockets", f"spice={vms}/{{guest}}/spice.sock"),
        *("--spice-password-files", f"{secrets}/{{guest}}.spice"),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hypervisor(
    system: System, options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[asyncio.subprocess.Process]:
    async with agent(system, AGENT, tmp_path_factory.mktemp("hv1"), *options) as process:
        yield process


async def _guests(system: System) -> list[str]:
    guests: list[str] = (await system.get(f"/api/agents/{AGENT}"))["agent"]["guests"]
    return guests


async def _answer(system: System, command_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    return await system.ended(await system.command(TARGET, command_type, payload))


async def _in_guest(system: System, command: str) -> bytes:
    """What it prints."""
    command_id = await system.command(TARGET, "shell", {"command": command})
    assert (await system.ended(command_id))["status"] == "completed"
    return await system.output(command_id)


async def test_command_in_a_guest_is_seen_live_like_any_other(
    system: System, hypervisor: asyncio.subprocess.Process
) -> None:
    """S2-23F, S2-24F: the first line is in the event stream before the command is allowed to go on."""
    script = "uname -n; while ! test -e /tmp/gate; do sleep 0.1; done; rm /tmp/gate; echo second"
    batch_id = await system.batch(script, [TARGET])

    seen = b""
    async with asyncio.timeout(60):
        async for event in system.watch(f"/api/batch_commands/{batch_id}/events"):
            if event.kind == "output":
                seen += base64.b64decode(event.body["data"])
                if seen.count(b"\n") == 1:
                    await _in_guest(system, "touch /tmp/gate")
            if event.kind == "end":
                break

    task = (await system.finished(batch_id))["tasks"][0]
    assert (task["status"], task["exit_code"], task["vps_id"]) == ("SUCCESS", 0, TARGET)
    assert task["via"] == {"carrier": "grpc", "dialect": "native", "protocol": "qga"}
    assert seen.endswith(b"\nsecond\n")


async def test_output_of_forty_megabytes_is_byte_exact(
    system: System, hypervisor: asyncio.subprocess.Process
) -> None:
    """S2-24F: more than twice what the guest's agent itself would tell."""
    command = (
        "head -c 1000000 /dev/urandom > /tmp/block; "
        f"for number in $(seq 10 {9 + MEGABYTES}); do echo $number; cat /tmp/block; done > /tmp/noise; "
        "cat /tmp/noise; sha256sum < /tmp/noise >&2; rm /tmp/noise /tmp/block"
    )
    command_id = await system.command(TARGET, "shell", {"command": command}, timeout=100)

    ended = await system.ended(command_id)

    assert ended["status"] == "completed", ended
    content = await system.output(command_id)
    told = (await system.output(command_id, "stderr")).split()[0].decode()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (MEGABYTES * 1_000_003, told)


async def test_terminate_ends_the_process_in_the_guest(
    system: System, hypervisor: asyncio.subprocess.Process
) -> None:
    """S2-23F: and the end is told when nothing of it is left there."""
    command = "trap '' TERM; setsid sleep 4321 & echo started; sleep 4321; sleep 4321"
    command_id = await system.command(TARGET, "shell", {"command": command}, grace=0.2)
    await eventually(lambda: _printed(system, command_id), within_s=60)

    await system.post(f"/api/command/{command_id}/terminate")
    ended = await system.ended(command_id)

    assert ended["state"] == "terminated", ended
    assert b"4321" not in await _in_guest(system, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


async def test_two_commands_at_once_in_one_guest_keep_to_themselves(
    system: System, hypervisor: asyncio.subprocess.Process
) -> None:
    """S2-6"""
    commands = [
        f"for i in 1 2 3; do echo {name}; sleep 0.1; done; exit {code}" for name, code in (("a", 3), ("b", 4))
    ]
    ids = [await system.command(TARGET, "shell", {"command": command}) for command in commands]

    ended = [await system.ended(command_id) for command_id in ids]

    assert [command["exit_code"] for command in ended] == [3, 4]
    assert [await system.output(command_id) for command_id in ids] == [b"a\na\na\n", b"b\nb\nb\n"]


async def test_every_way_to_a_guest_answers(
    system: System, hypervisor: asyncio.subprocess.Process, booted_guest: BootedGuest
) -> None:
    """S2-4, S2-10, S2-21F, S2-22F: QMP, a channel of one's own, SPICE; the keys arrive in the guest."""
    before = len(booted_guest.key_events())

    status = await _answer(system, "qmp.query_status", {})
    echoed = await _answer(
        system,
        "virtio.send",
        {"channel": ECHO_CHANNEL, "message": {"hello": [1, "ä"]}, "reply_timeout_ms": 20_000},
    )
    by_qmp = await _answer(system, "qmp.send_keys", {"keys": ["shift", "a"], "hold_ms": 50})
    await eventually(lambda: len(booted_guest.key_events()) == before + 4)
    by_spice = await _answer(system, "spice.send_keys", {"keys": ["ctrl", "alt", "del"], "hold_ms": 50})
    await eventually(lambda: len(booted_guest.key_events()) == before + 10)

    assert status["result"] == {"running": True, "status": "running"}
    assert echoed["result"] == {"message": {"hello": [1, "ä"]}}
    assert {command["status"] for command in (status, echoed, by_qmp, by_spice)} == {"completed"}
    assert [command["via"]["protocol"] for command in (status, echoed, by_qmp, by_spice)] == [
        "qmp",
        "virtio_serial",
        "qmp",
        "spice",
    ]


async def test_paused_guest_is_told_from_a_dead_one(
    system: System, hypervisor: asyncio.subprocess.Process
) -> None:
    """S2-25F: the command fails at once and never starts; after the guest goes on, the next one runs."""
    await _answer(system, "qmp.execute", {"command": "stop"})
    try:
        paused = await _answer(system, "shell", {"command": "touch /tmp/paused"})
    finally:
        await _answer(system, "qmp.execute", {"command": "cont"})

    assert (paused["state"], paused["reason"]) == ("failed", "guest_paused")
    assert await _in_guest(system, "test -e /tmp/paused || echo no") == b"no\n"


async def test_unknown_guest_is_rejected_and_says_why(
    system: System, hypervisor: asyncio.subprocess.Process
) -> None:
    ended = await system.ended(await system.command("hv1/vm9", "shell", {"command": "true"}))

    assert (ended["state"], ended["reason"]) == ("rejected", "guest_unsupported")
    assert "no guest vm9 here" in ended["error"]


async def test_guests_come_and_go_in_the_registry_while_their_agent_stays_linked(
    system: System, hypervisor: asyncio.subprocess.Process, booted_guest: BootedGuest
) -> None:
    """S2-23F: announced and withdrawn live."""
    await eventually(lambda: _lists(system, "vm1"))
    second = booted_guest.directory / "vm2"
    second.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(second / "qga.sock"))
        await eventually(lambda: _lists(system, "vm1", "vm2"))
    (second / "qga.sock").unlink()
    await eventually(lambda: _lists(system, "vm1"))
    second.rmdir()


async def test_agent_that_was_killed_leaves_nothing_behind_in_the_guest(
    system: System, socket_dir: Path, tmp_path: Path
) -> None:
    """The next executor finds what its predecessor had started in the guest, ends it, and says that nobody knows."""
    options = ("--guest-sockets", f"qga={socket_dir}/{{guest}}/qga.sock")
    (socket_dir / "vm1").mkdir()
    async with HostGuestAgent.running(socket_dir / "vm1") as guest:
        async with agent(system, "hv2", tmp_path / "hv2", *options) as killed:
            script = {"command": "echo $$; exec sleep 600"}
            command_id = await system.command("hv2/vm1", "shell", script)
            await eventually(lambda: _printed(system, command_id), within_s=60)
            killed.kill()
            await killed.wait()
        # One that was just answering has ended, for nobody reads it any more: whoever runs it starts it again.
        await guest.child.kill()
        await guest.start()
        pid = int(await system.output(command_id))
        assert _lives(pid)
        async with agent(system, "hv2", tmp_path / "hv2", *options):
            ended = await system.ended(command_id)
            assert not _lives(pid), ended["reason"]

    assert (ended["state"], ended["reason"]) == ("outcome_unknown", "executor_killed")


async def _printed(system: System, command_id: str) -> bytes:
    return await system.output(command_id)


async def _lists(system: System, *guests: str) -> bool:
    return await _guests(system) == list(guests)


def _lives(pid: int) -> bool:
    """A process that has ended is nobody's business but its parent's."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
