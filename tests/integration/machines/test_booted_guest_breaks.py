"""A guest that falls silent, and one that is taken away midway. Each test boots its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.machines.errors import AgentSilent, ConnectFailed, ConnectionEnded
from quarterdeck.machines.qga import QgaProtocolBuilder
from quarterdeck.machines.qmp import QmpProtocolBuilder
from quarterdeck.machines.virtio_serial import VirtioSerialProtocolBuilder
from quarterdeck.testing.eventually import eventually
from quarterdeck.testing.machines import BootedGuest
from quarterdeck.testing.machines.booted_guest import ECHO_CHANNEL
from tests.integration.machines.waiting import PATIENCE_S, is_running


@pytest.fixture
async def own_guest(socket_dir: Path, guest_image: Path) -> AsyncIterator[BootedGuest]:
    async with BootedGuest.running(socket_dir, guest_image) as guest:
        yield guest


async def test_agent_that_stopped_is_silent_while_its_guest_runs(own_guest: BootedGuest) -> None:
    """S2-25F. The guest's other ways go on."""
    qmp = QmpProtocolBuilder().with_timeout(PATIENCE_S).build()
    await qmp.connect(own_guest.guest)
    qga = QgaProtocolBuilder().with_timeout(PATIENCE_S).build()
    await qga.connect(own_guest.guest)
    # Whether the answer comes before the agent stops, nobody knows; that it stopped, the console tells.
    stopping = asyncio.create_task(qga.exec_shell("kill -STOP $PPID; echo stopped >/dev/console"))
    await eventually(lambda: "stopped" in own_guest.console(), within_s=PATIENCE_S)
    stopping.cancel()
    await asyncio.wait([stopping])
    await qga.disconnect()

    impatient = QgaProtocolBuilder().with_timeout(0.3).with_status(is_running(qmp)).build()
    with pytest.raises(AgentSilent):
        await impatient.connect(own_guest.guest)

    channel = VirtioSerialProtocolBuilder().with_channel(ECHO_CHANNEL).with_timeout(PATIENCE_S).build()
    await channel.connect(own_guest.guest)
    await channel.send(b"still here")
    assert await channel.receive()
    await channel.disconnect()
    await qmp.disconnect()


async def test_guest_that_is_taken_away_ends_whatever_waits_for_it(own_guest: BootedGuest) -> None:
    """S2-25F. At once, and not by a timeout; and later callers are told that nobody is there."""
    qmp = QmpProtocolBuilder().with_timeout(PATIENCE_S).build()
    qga = QgaProtocolBuilder().with_timeout(PATIENCE_S).build()
    channel = VirtioSerialProtocolBuilder().with_channel(ECHO_CHANNEL).with_timeout(PATIENCE_S).build()
    for protocol in (qmp, qga, channel):
        await protocol.connect(own_guest.guest)
    events = qmp.events()
    waiting = [
        asyncio.create_task(qga.exec_shell("echo begun >/dev/console; sleep 1000")),
        asyncio.create_task(channel.receive()),
        asyncio.ensure_future(anext(events)),
    ]
    await eventually(lambda: "begun" in own_guest.console(), within_s=PATIENCE_S)

    await own_guest.kill()

    command_end, *other_ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(
        command_end, ConnectionEnded | ConnectFailed
    )  # the latter between two looks at the command
    assert [type(end) for end in other_ends] == [ConnectionEnded, ConnectionEnded]
    for protocol in (qmp, qga, channel):
        with pytest.raises(ConnectFailed):
            await protocol.connect(own_guest.guest)
        await protocol.disconnect()
