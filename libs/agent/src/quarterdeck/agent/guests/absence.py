"""How long a command waits for a guest that went away in the middle of it. Pure; for execution.py.

A paused guest is waited for: what runs in it goes on when it does, and the command's own timeout counts. Anything else
that breaks the road is given a few seconds, since an agent in the guest, or its QEMU's socket, may be back in a moment.
"""

from typing import Final

import structlog

from quarterdeck.machines.errors import GuestPaused, MachineError, NotSupported, Refused

log = structlog.get_logger()

_AWAY_S: Final = 5.0
_PAUSED_LOOK_S: Final = 0.5
_AWAY_LOOK_S: Final = 0.25


class Absence:
    """Of one guest, for one command."""

    def __init__(self) -> None:
        self._gives_up_at_s: float | None = None

    def over(self) -> None:
        """It answered."""
        self._gives_up_at_s = None

    def seen(self, error: MachineError, now_s: float) -> float:
        """Seconds to wait before the next try. Raises `error` when there is none."""
        if isinstance(error, GuestPaused):
            log.debug("guests.paused", guest=error.guest)
            self._gives_up_at_s = None
            return _PAUSED_LOOK_S
        if isinstance(error, Refused | NotSupported):
            raise error
        if self._gives_up_at_s is None:
            self._gives_up_at_s = now_s + _AWAY_S
        elif now_s >= self._gives_up_at_s:
            raise error
        return _AWAY_LOOK_S
