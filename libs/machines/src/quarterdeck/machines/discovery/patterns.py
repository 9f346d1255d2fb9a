"""Guests by the names of their sockets: `qmp=/run/vms/{guest}/qmp.sock` finds a monitor of every guest that has one.

Looks at names alone and connects to nothing, so that it may be asked every few seconds. A socket file outlives a QEMU
that was killed: whether somebody listens, a connect tells.
"""

import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from quarterdeck.machines.guest import Endpoint, Guest, ProtocolType, UnixEndpoint

_GUEST: Final = "{guest}"
_PROTOCOLS: Final = {
    protocol.value: protocol for protocol in (ProtocolType.QMP, ProtocolType.QGA, ProtocolType.SPICE)
}
_TOKEN: Final = re.compile(r"(\{guest\}|\*|\?)")
_FIRST_GUEST: Final = r"(?P<guest>[^/]+)"
_SAME_GUEST: Final = r"(?P=guest)"
_IN_EXPRESSION: Final = {"*": "[^/]*", "?": "[^/]"}
_IN_GLOB: Final = {_GUEST: "*", "*": "*", "?": "?"}


class SocketPattern(msgspec.Struct, frozen=True):
    """Where guests of this host have the socket of one protocol."""

    protocol: ProtocolType
    path: str
    """Absolute. `{guest}` stands for the guest's name, within one part of the path; `*` and `?` for anything there."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """`protocol=path`, such as `qmp=/run/vms/{guest}/qmp.sock`. Raises ValueError."""
        name, equals, path = text.partition("=")
        if not equals or name not in _PROTOCOLS:
            raise ValueError(f"expected one of {', '.join(_PROTOCOLS)}, then `=` and a path: {text!r}")
        if not path.startswith("/") or _GUEST not in path:
            raise ValueError(f"expected an absolute path with {_GUEST} in it: {path!r}")
        return cls(_PROTOCOLS[name], str(Path(path)))

    def sockets(self) -> Iterator[tuple[str, str]]:
        """Guest and path of each socket that is there, in the order of the paths."""
        expression = re.compile(self._expression())
        for path in sorted(map(str, Path("/").glob(self._glob()))):
            if (found := expression.fullmatch(path)) and _is_socket(path):
                yield found["guest"], path

    def _glob(self) -> str:
        tokens = (_IN_GLOB.get(token) or token.replace("[", "[[]") for token in _TOKEN.split(self.path[1:]))
        return "".join(tokens)

    def _expression(self) -> str:
        tokens = (_IN_EXPRESSION.get(token) or re.escape(token) for token in _TOKEN.split(self.path))
        guest = re.escape(_GUEST)
        return "".join(tokens).replace(guest, _FIRST_GUEST, 1).replace(guest, _SAME_GUEST)


def find_guests(patterns: Iterable[SocketPattern]) -> dict[str, Guest]:
    """Every guest with at least one socket, by name. Of several for one protocol, the first is taken."""
    endpoints: dict[str, dict[ProtocolType, Endpoint]] = {}
    for pattern in patterns:
        for guest, path in pattern.sockets():
            endpoints.setdefault(guest, {}).setdefault(pattern.protocol, UnixEndpoint(path))
    return {name: Guest(name=name, endpoints=found) for name, found in sorted(endpoints.items())}


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return False
