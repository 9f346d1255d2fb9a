"""virtio-serial: a wire of one's own between a program in the guest and one on the host. Guide: docs/virtio-serial.md.

    virtio_serial.py    VirtioSerialProtocol and its builder: bytes
    json_lines.py       messages over it, one JSON value per line

What ports a guest has: the package discovery.
"""

from quarterdeck.machines.virtio_serial.json_lines import JsonLines
from quarterdeck.machines.virtio_serial.virtio_serial import VirtioSerialProtocol, VirtioSerialProtocolBuilder

__all__ = ["JsonLines", "VirtioSerialProtocol", "VirtioSerialProtocolBuilder"]
