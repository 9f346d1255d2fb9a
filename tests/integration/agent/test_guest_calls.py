"""Calls to a guest's QEMU, against a real one; and what is said of guests that are not there."""

import os
import signal
import socket
from pathlib import Path

import msgspec
import pytest
import structlog

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qmp import QmpProtocolBuilder
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import HostGuestAgent, QemuProcess
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.agent.guests import GUEST, agent_that_never_answers, executor_settings, hypervisor
from tests.unit.agent.conversation import Conversation


async def _call(link: Conversation, command_type: str, payload: object, *, guest: str = GUEST) -> pb.Result:
    return await link.result(await link.order(command_type, payload, guest=guest))


async def test_qmp_answers_are_results(bare_machine: QemuProcess, tmp_path: Path) -> None:
    """S2-10, S2-23F"""
    async with hypervisor(executor_settings(tmp_path, bare_machine.qmp_path.parent, "qmp")) as link:
        status = await _call(link, "qmp.query_status", {})
        commands = await _call(link, "qmp.execute", {"command": "query-commands"})
        there = await _call(link, "qmp.execute", {"command": "qom-list", "arguments": {"path": "/machine"}})
        keys = await _call(link, "qmp.send_keys", {"keys": ["ctrl", "alt", "del"], "hold_ms": 20})

    assert msgspec.json.decode(status.result) == {"running": False, "status": "prelaunch"}
    assert {"name": "send-key"} in msgspec.json.decode(commands.result)
    assert any(item["name"] == "peripheral" for item in msgspec.json.decode(there.result))
    assert (keys.end, keys.result) == (pb.SUCCEEDED, b"")


async def test_what_qemu_declines_is_a_failure_with_its_words(
    bare_machine: QemuProcess, tmp_path: Path
) -> None:
    """S2-25F: and the next command works."""
    async with hypervisor(executor_settings(tmp_path, bare_machine.qmp_path.parent, "qmp")) as link:
        unknown = await _call(link, "qmp.execute", {"command": "no-such-command"})
        key = await _call(link, "qmp.send_keys", {"keys": ["ctrl", "hyper"]})
        after = await _call(link, "qmp.query_status", {})

    assert (unknown.end, unknown.reason) == (pb.FAILED, "guest_refused")
    assert "CommandNotFound" in unknown.error
    assert (key.end, key.reason) == (pb.FAILED, "invalid_payload")
    assert "'hyper'" in key.error
    assert after.end == pb.SUCCEEDED


async def test_command_for_a_paused_guest_fails_and_starts_nothing(
    bare_machine: QemuProcess, guest_agent_process: HostGuestAgent, tmp_path: Path
) -> None:
    """S2-25F: QMP tells at once that nobody in the guest can answer."""
    sockets = guest_agent_process.socket_path.parent
    touched = tmp_path / "touched"
    async with hypervisor(executor_settings(tmp_path, sockets, "qmp", "qga")) as link:
        result = await link.run(f"touch {touched}", guest=GUEST)

    assert (result.end, result.reason) == (pb.FAILED, "guest_paused")
    assert not touched.exists()


async def test_guest_whose_qemu_is_gone_is_unreachable(bare_machine: QemuProcess, tmp_path: Path) -> None:
    """Its socket outlives a QEMU that was killed."""
    async with hypervisor(executor_settings(tmp_path, bare_machine.qmp_path.parent, "qmp")) as link:
        await _call(link, "qmp.query_status", {})
        await bare_machine.kill()
        result = await _call(link, "qmp.send_keys", {"keys": ["a"]})

    assert (result.end, result.reason) == (pb.FAILED, "guest_unreachable")


@pytest.mark.parametrize(
    ("guest", "command_type", "payload", "reason", "text"),
    [
        ("vm9", "shell", {"command": "true"}, "guest_unsupported", "no guest vm9 here"),
        (GUEST, "spice.send_keys", {"keys": ["a"]}, "guest_unsupported", "no way to guest vm1 by spice"),
        (GUEST, "list_commands", {}, "guest_unsupported", "guests execute no list_commands"),
        (GUEST, "qmp.execute", {}, "invalid_payload", "command"),
        (GUEST, "qmp.send_keys", {"keys": []}, "invalid_payload", "keys"),
        (GUEST, "qmp.send_keys", {"keys": ["a"], "hold": 3}, "invalid_payload", "hold"),
        (GUEST, "qga.exec", {"path": "sh", "env": ["A"]}, "invalid_payload", "NAME=value"),
        (GUEST, "virtio.send", {"channel": "c"}, "invalid_payload", "message or text"),
        (GUEST, "qmp.execute", b"\xff", "invalid_payload", "payload"),
    ],
)
async def test_order_that_no_guest_can_execute_is_rejected(
    bare_machine: QemuProcess,
    tmp_path: Path,
    guest: str,
    command_type: str,
    payload: object,
    reason: str,
    text: str,
) -> None:
    async with hypervisor(executor_settings(tmp_path, bare_machine.qmp_path.parent, "qmp")) as link:
        key = await link.order(command_type, payload, guest=guest)
        rejected = await link.report(key, pb.Rejected)

    assert rejected.reason == reason
    assert text in rejected.error


async def test_guests_are_announced_and_withdrawn_while_the_link_stands(
    tmp_path: Path, socket_dir: Path
) -> None:
    """S2-23F: in Hello what is there, afterwards what changed."""
    settings = executor_settings(tmp_path, socket_dir, "qga")
    async with hypervisor(settings) as link:
        assert list(link.hello.guests) == []
        assert "qga.exec" in link.hello.capabilities
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(socket_dir / "qga.sock"))
            await link.until(lambda: _announced(link) == [[GUEST]])
            assert list((await link.open()).guests) == [GUEST]
            (socket_dir / "qga.sock").unlink()
            await link.until(lambda: _announced(link) == [[GUEST], []])


async def test_name_that_is_no_id_is_no_target(tmp_path: Path, socket_dir: Path) -> None:
    settings = executor_settings(tmp_path, socket_dir, "qga")
    odd = tmp_path / "vms" / "vm.with.dots"
    odd.symlink_to(socket_dir)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_dir / "qga.sock"))
        async with hypervisor(settings) as link:
            assert list(link.hello.guests) == [GUEST]


async def test_name_that_is_no_text_can_be_logged(tmp_path: Path, socket_dir: Path) -> None:
    """Or nobody could start here: logs are JSON, and the name of a file may be any bytes."""
    settings = executor_settings(tmp_path, socket_dir, "qga")
    (tmp_path / "vms" / os.fsdecode(b"vm\xff")).symlink_to(socket_dir)
    with socket.socket(socket.AF_UNIX) as listener, structlog.testing.capture_logs() as logs:
        listener.bind(str(socket_dir / "qga.sock"))
        async with hypervisor(settings) as link:
            assert list(link.hello.guests) == [GUEST]

    assert "guests.name_unusable" in {entry["event"] for entry in logs}
    assert msgspec.json.encode(logs)


async def test_agent_that_never_answers_fails_the_command_in_time(tmp_path: Path, socket_dir: Path) -> None:
    """Somebody listens, and says nothing: nothing was started, and other commands go on."""
    async with agent_that_never_answers(socket_dir / "qga.sock"):
        settings = executor_settings(tmp_path, socket_dir, "qga", timeout_s=0.5)
        async with hypervisor(settings) as link:
            silent = await link.shell("true", guest=GUEST)
            assert (await link.run("true")).end == pb.SUCCEEDED
            result = await link.result(silent)

    assert (result.end, result.reason) == (pb.FAILED, "guest_unreachable")


def _announced(link: Conversation) -> list[list[str]]:
    return [list(report.guests) for report in link.reports if isinstance(report, pb.GuestList)]


async def test_guest_that_is_paused_midway_is_waited_for(
    bare_machine: QemuProcess, guest_agent_process: HostGuestAgent, tmp_path: Path
) -> None:
    """S2-25F: far longer than an answer may take; nothing of the output is lost, and the end is the command's own."""
    sockets = guest_agent_process.socket_path.parent
    gate = tmp_path / "gate"
    monitor = QmpProtocolBuilder().build()
    second = UnixEndpoint(str(bare_machine.second_qmp_path))
    await monitor.connect(Guest(name=GUEST, endpoints={ProtocolType.QMP: second}))
    await monitor.execute_command("cont")
    async with hypervisor(executor_settings(tmp_path, sockets, "qmp", "qga", timeout_s=0.3)) as link:
        key = await link.shell(
            f"seq 1000; while ! test -e {gate}; do sleep 0.02; done; seq 1000", guest=GUEST
        )
        await link.until(lambda: link.stdout(key).endswith(b"\n1000\n"))

        with structlog.testing.capture_logs() as logs:
            await monitor.execute_command("stop")
            guest_agent_process.child.send_signal(signal.SIGSTOP)
            gate.touch()
            await eventually(lambda: sum(entry["event"] == "guests.paused" for entry in logs) > 0)
            await monitor.execute_command("cont")
            guest_agent_process.child.send_signal(signal.SIGCONT)
        result = await link.result(key)
    await monitor.disconnect()

    assert (result.end, result.exit_code) == (pb.SUCCEEDED, 0)
    assert link.stdout(key) == 2 * b"".join(b"%d\n" % number for number in range(1, 1001))
