"""Programs of our own in a guest that never end, such as over a dead file system: nobody waits for ever."""

from pathlib import Path

import pytest

from quarterdeck.machines.errors import StillRunning
from quarterdeck.machines.qga import (
    LiveExec,
    LiveExecSpec,
    QgaProtocolBuilder,
    Scratch,
    process_tree,
    scratch,
)
from tests.integration.machines.agent_peer import AgentConnection, agent
from tests.integration.machines.live_runs import MARKER

PATIENT = QgaProtocolBuilder().with_timeout(60).with_polling(ceiling_s=0.02)


async def nothing_ends(connection: AgentConnection) -> None:
    while True:
        request = await connection.request()
        returned = {"pid": 1} if request["execute"] == "guest-exec" else {"exited": False}
        connection.answer(request, returned)


async def test_look_at_processes_that_hangs_in_the_guest_leaves_a_stop_unproven(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2-25F"""
    monkeypatch.setattr(process_tree, "_PATIENCE_S", 0.1)
    async with agent(socket_dir, nothing_ends) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(StillRunning):
            await LiveExec(Scratch(protocol), LiveExecSpec(marker=MARKER)).stop(grace_s=1)

        await protocol.disconnect()


async def test_first_look_around_that_hangs_in_the_guest_starts_nothing(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2-25F: and whoever comes next is not kept waiting behind it."""
    monkeypatch.setattr(scratch, "_PATIENCE_S", 0.1)
    async with agent(socket_dir, nothing_ends) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        ground = Scratch(protocol)

        for _ in range(2):
            run = LiveExec(ground, LiveExecSpec(marker=MARKER, argv=("x",)))
            with pytest.raises(StillRunning):
                await run.start()
            assert not run.may_have_started

        await protocol.disconnect()
