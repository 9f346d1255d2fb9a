"""Guests that went away between two commands, or have no way in: what the next command is told."""

import signal
from pathlib import Path

import msgspec
import structlog

from quarterdeck.agent.guests.connections import Connections
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import HostGuestAgent
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.agent.guests import GUEST, agent_that_never_answers, executor_settings, hypervisor


async def test_guest_that_is_back_takes_the_next_command(
    tmp_path: Path, guest_agent_process: HostGuestAgent
) -> None:
    """S2-25F: nobody used the connection that ended meanwhile."""
    settings = executor_settings(tmp_path, guest_agent_process.socket_path.parent, "qga")
    seldom = msgspec.structs.replace(settings.guests, look_interval_s=600)  # it is not seen to be away
    async with hypervisor(msgspec.structs.replace(settings, guests=seldom)) as link:
        before = await link.run("true", guest=GUEST)
        await guest_agent_process.kill()
        await guest_agent_process.start()

        after = await link.run("true", guest=GUEST)

    assert [before.end, after.end] == [pb.SUCCEEDED, pb.SUCCEEDED], after


async def test_commands_that_wait_for_the_same_silence_fail_together(
    tmp_path: Path, socket_dir: Path
) -> None:
    """S2-25F: a time limit does not add up over those that wait."""
    async with agent_that_never_answers(socket_dir / "qga.sock") as connections:
        settings = executor_settings(tmp_path, socket_dir, "qga", timeout_s=0.5)
        async with hypervisor(settings) as link:
            keys = [await link.shell("true", guest=GUEST) for _ in range(12)]
            results = [await link.result(key) for key in keys]

    assert {(result.end, result.reason) for result in results} == {(pb.FAILED, "guest_unreachable")}
    assert len(connections) <= 2


async def test_stop_outlasts_a_short_silence_of_the_guests_agent(
    tmp_path: Path, guest_agent_process: HostGuestAgent
) -> None:
    """S2-23F, S2-25F: what was told to end does not run on because one look at it was not answered in time."""
    settings = executor_settings(tmp_path, guest_agent_process.socket_path.parent, "qga", timeout_s=1)
    async with hypervisor(settings) as link:
        key = await link.shell("echo $$; exec sleep 600", guest=GUEST)
        await link.until(lambda: link.stdout(key).endswith(b"\n"))

        with structlog.testing.capture_logs() as logs:
            guest_agent_process.child.send_signal(signal.SIGSTOP)
            await link.terminate(key, grace_ms=1000)
            await eventually(lambda: "guests.stop_interrupted" in {entry["event"] for entry in logs})
            guest_agent_process.child.send_signal(signal.SIGCONT)
        result = await link.result(key)

    assert (result.end, result.signal) == (pb.TERMINATED, signal.SIGTERM)


async def test_guest_that_gets_another_socket_keeps_the_connections_that_it_has(
    tmp_path: Path, guest_agent_process: HostGuestAgent
) -> None:
    """S2-6: making them anew would break what other commands are about to be answered."""
    qga = UnixEndpoint(str(guest_agent_process.socket_path))
    before = Guest(name=GUEST, endpoints={ProtocolType.QGA: qga})
    spice = {ProtocolType.SPICE: UnixEndpoint(str(tmp_path / "spice.sock"))}
    after = Guest(name=GUEST, endpoints={ProtocolType.QGA: qga, **spice}, channels={"org.example.new": qga})
    connections = Connections(GuestSettings())

    with structlog.testing.capture_logs() as logs:
        for guest in (before, after, before):
            async with connections.programs(guest) as scratch:
                await scratch.qga.ping()
        await connections.close()

    assert sum(entry["event"] == "qga.connected" for entry in logs) == 1
