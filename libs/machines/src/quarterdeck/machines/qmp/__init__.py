"""QMP, QEMU's own monitor: state, keys, devices, events. Works whatever runs in the guest, or does not.

    qmp.py              QmpProtocol and its builder
    monitor.py          a connection to a monitor; socket_monitor.py and libvirt_monitor.py are the two kinds
    client.py           the library qemu.qmp, kept within bounds
    events.py           streams of what QEMU tells unasked
    messages.py         the structures of the wire

Source: QEMU, docs/interop/qmp-spec.
"""

from quarterdeck.machines.qmp.events import EventStream
from quarterdeck.machines.qmp.messages import (
    QmpCommand,
    QmpError,
    QmpEvent,
    QmpKey,
    QmpResponse,
    QmpStatus,
    QmpVersion,
)
from quarterdeck.machines.qmp.qmp import QmpProtocol, QmpProtocolBuilder

__all__ = [
    "EventStream",
    "QmpCommand",
    "QmpError",
    "QmpEvent",
    "QmpKey",
    "QmpProtocol",
    "QmpProtocolBuilder",
    "QmpResponse",
    "QmpStatus",
    "QmpVersion",
]
