"""Which guests there are on this host, and where each protocol finds them. Called by the agent, again and again.

    patterns.py     guests by the names of QEMU's sockets
    libvirt.py      guests of a libvirt daemon; domain_xml.py reads what it tells of each
    qom.py          the virtio-serial ports of one guest, asked over its monitor

Nothing here connects to a guest but qom.py, which is given the connection.
"""

from quarterdeck.machines.discovery.libvirt import libvirt_guests
from quarterdeck.machines.discovery.patterns import SocketPattern, find_guests
from quarterdeck.machines.discovery.qom import SerialPort, channels_of, serial_ports_of, with_serial_ports

__all__ = [
    "SerialPort",
    "SocketPattern",
    "channels_of",
    "find_guests",
    "libvirt_guests",
    "serial_ports_of",
    "with_serial_ports",
]
