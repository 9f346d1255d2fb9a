"""Tells when a Unix socket of another process takes clients, without being one.

A monitor, a channel and a guest agent serve one client at a time: whoever connects just to see is in somebody's way.
"""

from pathlib import Path
from typing import Final

from quarterdeck.embedded.children import Child
from quarterdeck.embedded.server_errors import ServerStartFailed
from quarterdeck.testing.eventually import eventually

_TABLE: Final = Path("/proc/net/unix")
_FLAGS, _PATH = 3, 7
"""Columns. Source: proc(5)."""
_LISTENING: Final = 0x10000
"""__SO_ACCEPTCON. Source: linux/net.h."""


def is_listening(path: Path) -> bool:
    for line in _TABLE.read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        columns = line.split(maxsplit=_PATH)
        if len(columns) > _PATH and columns[_PATH] == str(path) and int(columns[_FLAGS], 16) & _LISTENING:
            return True
    return False


async def listening(child: Child, *paths: Path) -> None:
    """Returns once `child` listens on all `paths`. Raises ServerStartFailed when it ended instead, and TimeoutError."""

    def ready() -> bool:
        if child.exit_code is not None:
            settings = child.settings
            raise ServerStartFailed(settings.name, child.exit_code, settings.log_path, child.log_tail())
        return all(is_listening(path) for path in paths)

    await eventually(ready, within_s=60)
