"""Output of a command in a guest whose agent is slow: an answer that came too late is asked for again."""

import asyncio
import signal

from quarterdeck.machines.errors import TimedOut
from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint
from quarterdeck.machines.qga import LiveExec, LiveExecSpec, QgaProtocolBuilder, Scratch
from quarterdeck.testing.machines import HostGuestAgent
from tests.integration.machines.live_runs import MARKER


async def test_a_lost_answer_costs_no_byte(guest_agent_process: HostGuestAgent) -> None:
    """S2-25F: the agent had read on in the file, and nobody got what it read."""
    agent = guest_agent_process
    guest = Guest(name="vm1", endpoints={ProtocolType.QGA: UnixEndpoint(str(agent.socket_path))})
    qga = QgaProtocolBuilder().with_timeout(0.5).build()
    await qga.connect(guest)
    program = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); echo $i; done; sleep 600"
    live = LiveExec(Scratch(qga), LiveExecSpec(marker=MARKER, argv=("/bin/sh", "-c", program)))
    await live.start()
    taken, timeouts = b"", 0

    async with asyncio.timeout(40):
        while not taken.endswith(b"\n20000\n"):
            is_late = timeouts < 2 and len(taken) > 16 * 1024 * (timeouts + 1)
            if is_late:
                agent.child.send_signal(signal.SIGSTOP)
            try:
                taken += (await live.step()).stdout
            except TimedOut:
                timeouts += 1
            finally:
                if is_late:
                    agent.child.send_signal(signal.SIGCONT)

    assert timeouts == 2
    assert taken == b"".join(b"%d\n" % number for number in range(1, 20001))
    assert await live.stop(grace_s=5)
    await live.remove()
    await qga.disconnect()
