"""What tests of machines stand on: real QEMU, a real guest agent, and sockets that nobody took."""

import asyncio
import json
from pathlib import Path

import psutil

from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import HostGuestAgent, QemuProcess
from quarterdeck.testing.machines.sockets import is_listening


async def _first_line(path: Path, request: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_both_monitors_of_a_bare_machine_greet(bare_machine: QemuProcess) -> None:
    """S2-24F."""
    greetings = [await _first_line(path) for path in (bare_machine.qmp_path, bare_machine.second_qmp_path)]

    assert all("QMP" in json.loads(greeting) for greeting in greetings)


async def test_guest_agent_on_this_host_answers_client_after_client(host_guest_agent: Path) -> None:
    """S2-24F."""
    request = b'{"execute": "guest-ping"}\n'

    answers = [await _first_line(host_guest_agent, request) for _ in range(3)]

    assert answers == [b'{"return": {}}\n'] * 3


async def test_guest_agent_on_this_host_refuses_to_shut_it_down(host_guest_agent: Path) -> None:
    """S2-24F. The host is the machine that runs the tests."""
    answer = json.loads(await _first_line(host_guest_agent, b'{"execute": "guest-shutdown"}\n'))

    assert answer["error"]["class"] == "CommandNotFound"


async def test_commands_of_the_guest_agent_end_with_it(socket_dir: Path) -> None:
    """S2-24F. Nothing that a test started outlives its agent."""
    start = {"execute": "guest-exec", "arguments": {"path": "/bin/sleep", "arg": ["1000"]}}
    async with HostGuestAgent.running(socket_dir) as agent:
        answer = json.loads(await _first_line(agent.socket_path, json.dumps(start).encode() + b"\n"))
        process = psutil.Process(answer["return"]["pid"])

    await eventually(lambda: not _lives(process))


def _lives(process: psutil.Process) -> bool:
    """A zombie does not: it waits for whoever adopted it, which may be a test's own process."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_socket_of_a_killed_machine_is_no_longer_listening(bare_machine: QemuProcess) -> None:
    """S2-24F. Asking does not take the monitor's only place."""
    assert is_listening(bare_machine.qmp_path)

    await bare_machine.kill()

    assert not is_listening(bare_machine.qmp_path)
