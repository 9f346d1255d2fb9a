"""Ports that stay the same across restarts of the whole system, where they are still free.

Owns run/ports.json and the question "is this port free". Agents, watchers and scripts that remember an address
find the system again after a stop and a start. Called by the supervisor.
"""

import json
import socket
from pathlib import Path
from typing import Final

_LOOPBACK: Final = "127.0.0.1"


class PortBook:
    """Remembers one port per name. Names are those of the pids in the ready file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = _read(path)

    def last(self, name: str, *, udp: bool = False) -> int:
        """The last run's port when it is still free, else 0: whoever binds it then chooses a free one."""
        port = self._ports.get(name, 0)
        return port if port and is_free(port, udp=udp) else 0

    def remember(self, name: str, port: int) -> None:
        """Keeps `port` for the next run."""
        self._ports[name] = port
        self._path.write_text(json.dumps(self._ports, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_free(port: int, *, udp: bool = False) -> bool:
    """Whether somebody could listen on the loopback `port` right now."""
    with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
        if (
            not udp
        ):  # a listener that has just gone leaves connections in TIME_WAIT; servers reuse the address
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def _read(path: Path) -> dict[str, int]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # a first run, or a file cut short by a full disk: nothing is lost but old ports
    if not isinstance(known, dict):
        return {}
    return {name: port for name, port in known.items() if isinstance(port, int) and 0 < port < 65536}
