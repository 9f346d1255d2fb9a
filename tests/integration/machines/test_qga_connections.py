"""How connections to a guest's agent begin and end, against a real qemu-ga on this host."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from quarterdeck.machines.errors import ConnectFailed, ConnectionEnded, ProtocolUnavailable, TimedOut
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qga import QgaProtocolBuilder
from quarterdeck.testing.machines import HostGuestAgent

PATIENT = QgaProtocolBuilder().with_timeout(60)
"""For answers that come at once, unless the machine is very busy."""
HASTY = QgaProtocolBuilder().with_timeout(0.8)
"""For answers that never come."""


def guest_at(path: object) -> Guest:
    return Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint(str(path))})


async def test_next_request_finds_an_agent_that_was_started_anew(guest_agent_process: HostGuestAgent) -> None:
    """S2-25F. Only what changes nothing is asked again by itself."""
    protocol = PATIENT.build()
    await protocol.connect(guest_at(guest_agent_process.socket_path))

    await guest_agent_process.kill()
    await guest_agent_process.start()
    await protocol.ping()
    await guest_agent_process.kill()
    await guest_agent_process.start()
    with pytest.raises(ConnectionEnded):
        await protocol.exec_shell("echo hi")

    assert (await protocol.exec_shell("echo hi")).decode_stdout() == "hi\n"
    await protocol.disconnect()


async def test_agent_that_is_gone_is_a_typed_error(guest_agent_process: HostGuestAgent) -> None:
    """S2-25F."""
    protocol = PATIENT.build()
    await protocol.connect(guest_at(guest_agent_process.socket_path))
    await guest_agent_process.kill()

    with pytest.raises((ConnectionEnded, ConnectFailed)):
        await protocol.exec_shell("echo hi")
    with pytest.raises(ConnectFailed):
        await protocol.ping()

    await protocol.disconnect()


async def test_guest_that_vanishes_during_a_program_is_a_typed_error(
    guest_agent_process: HostGuestAgent,
) -> None:
    """S2-25F."""
    protocol = PATIENT.build()
    await protocol.connect(guest_at(guest_agent_process.socket_path))
    waiting = asyncio.create_task(protocol.exec_shell("exec sleep 1000"))
    await protocol.ping()

    await guest_agent_process.kill()

    with pytest.raises((ConnectionEnded, ConnectFailed)):
        await waiting
    await protocol.disconnect()


async def test_request_before_a_connect_and_after_a_disconnect_is_an_error(host_guest_agent: Path) -> None:
    """S2-25F."""
    protocol = PATIENT.build()
    with pytest.raises(ConnectionEnded):
        await protocol.ping()
    await protocol.connect(guest_at(host_guest_agent))
    await protocol.disconnect()

    with pytest.raises(ConnectionEnded):
        await protocol.ping()


async def test_connecting_again_begins_anew(host_guest_agent: Path) -> None:
    """S2-1."""
    protocol = PATIENT.build()
    for _ in range(3):
        await protocol.connect(guest_at(host_guest_agent))
        await protocol.ping()

    await protocol.disconnect()


async def test_connecting_and_leaving_in_any_order_leaves_nothing_open(host_guest_agent: Path) -> None:
    """S2-1, S2-6. An unclosed socket fails the test."""
    protocol = PATIENT.build()

    async def connect() -> None:
        await protocol.connect(guest_at(host_guest_agent))

    async def ping() -> None:
        with contextlib.suppress(ConnectionEnded):
            await protocol.ping()

    for _ in range(5):
        await asyncio.gather(connect(), ping(), protocol.disconnect(), ping(), connect(), ping())
        await protocol.ping()
        await asyncio.gather(ping(), protocol.disconnect(), ping())

    assert not await protocol.is_connected()


async def test_second_client_waits_for_the_first_and_is_told(host_guest_agent: Path) -> None:
    """S2-25F. An agent has one client at a time."""
    first, second = PATIENT.build(), HASTY.build()
    await first.connect(guest_at(host_guest_agent))

    with pytest.raises(TimedOut):
        await second.connect(guest_at(host_guest_agent))

    await first.ping()
    await first.disconnect()


async def test_guest_without_an_agent_is_a_typed_error(tmp_path: Path, socket_dir: Path) -> None:
    """S2-25F. No socket, no file that is one, no endpoint at all."""
    plain = socket_dir / "plain"
    plain.touch()
    for path in (plain, socket_dir / "nothing", socket_dir, tmp_path / ("x" * 200)):
        with pytest.raises(ConnectFailed):
            await PATIENT.build().connect(guest_at(path))
    with pytest.raises(ProtocolUnavailable):
        await PATIENT.build().connect(Guest(name="vm1"))
