"""QGA, the agent of QEMU in a guest: any command, programs with their ends, and programs whose output is live.

    qga.py              QgaProtocol and its builder
    channel.py          a way to the agent; socket_channel.py and libvirt_channel.py are the two kinds
    framing.py          bytes, lines, ids and the sync
    structures.py       what goes to the agent and comes back
    cadence.py          when to look again
    live.py             LiveExec: a command whose output is read while it runs, without a limit
    scratch.py          where that output lies in the guest
    wrapper.py          how it is started
    process_tree.py     all processes of it, to be signalled and seen gone

Source: QEMU, qga/qapi-schema.json and docs/interop/qemu-ga.
"""

from quarterdeck.machines.qga.cadence import Cadence
from quarterdeck.machines.qga.live import LiveExec, LiveExecSpec, LiveStep
from quarterdeck.machines.qga.qga import IsRunning, QgaProtocol, QgaProtocolBuilder, QgaSettings
from quarterdeck.machines.qga.scratch import Ability, Scratch
from quarterdeck.machines.qga.structures import (
    AgentCommand,
    AgentVersion,
    GuestExec,
    GuestExecStatus,
    Request,
)

__all__ = [
    "Ability",
    "AgentCommand",
    "AgentVersion",
    "Cadence",
    "GuestExec",
    "GuestExecStatus",
    "IsRunning",
    "LiveExec",
    "LiveExecSpec",
    "LiveStep",
    "QgaProtocol",
    "QgaProtocolBuilder",
    "QgaSettings",
    "Request",
    "Scratch",
]
