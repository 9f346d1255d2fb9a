"""An executor whose only way to a guest is QEMU's monitor, which tells where the guest's agent is."""

from pathlib import Path

import msgspec

from quarterdeck.machines.errors import MonitorBusy
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qmp import QmpProtocolBuilder
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import BootedGuest
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.agent.guests import GUEST, executor_settings, hypervisor


async def test_commands_go_on_while_somebody_else_is_at_the_monitor(
    booted_guest: BootedGuest, tmp_path: Path
) -> None:
    """S2-23F: what the monitor told when the connection was made holds for as long as the connection does."""
    settings = executor_settings(tmp_path, booted_guest.qmp_path.parent, "qmp")
    settings = msgspec.structs.replace(settings, guests=msgspec.structs.replace(settings.guests, idle_s=0.05))
    person = QmpProtocolBuilder().with_timeout(1).build()
    monitor = Guest(name=GUEST, endpoints={ProtocolType.QMP: UnixEndpoint(str(booted_guest.qmp_path))})

    async def is_let_in() -> bool:
        try:
            await person.connect(monitor)
        except MonitorBusy:
            return False
        return True

    async with hypervisor(settings) as link:
        standing = await link.shell("echo up; sleep 600", guest=GUEST)
        await link.until(lambda: link.stdout(standing) == b"up\n")
        await eventually(is_let_in)
        meanwhile = await link.run("echo done", guest=GUEST)
        await person.disconnect()
        await link.terminate(standing)
        ended = await link.result(standing)

    assert (meanwhile.end, ended.end) == (pb.SUCCEEDED, pb.TERMINATED)
