"""The time limits of one command that was written, kept at the gateway: its agent may not know of them, or keep them.

Owns when they are over, and nothing of what follows. Made by the desk for each command; uses the loop's clock.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from quarterdeck.wire.codes import ResultReason

_OWN_TIMEOUT_S: Final = 1.0
"""An agent that keeps the timeout itself is given this long to say so first."""


class Deadlines:
    """From now until `cancel`. `due(reason)` is called at most once per limit."""

    def __init__(
        self,
        timeout_ms: int,
        no_output_timeout_ms: int,
        *,
        due: Callable[[ResultReason], None],
        held_back: Callable[[], bool],
    ) -> None:
        """0: no limit. `held_back`: the agent is not read just now, so its silence is ours."""
        self._due = due
        self._held_back = held_back
        self._loop = asyncio.get_running_loop()
        self._silence_s = no_output_timeout_ms / 1000
        self._heard_s = self._loop.time()
        self._timeout: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        if timeout_ms:
            wait_s = timeout_ms / 1000 + _OWN_TIMEOUT_S
            self._timeout = self._loop.call_later(wait_s, due, ResultReason.EXECUTION)
        if no_output_timeout_ms:
            self._silence = self._loop.call_later(self._silence_s, self._check_silence)

    def heard(self) -> None:
        """It printed something."""
        self._heard_s = self._loop.time()

    def cancel(self) -> None:
        for timer in (self._timeout, self._silence):
            if timer is not None:
                timer.cancel()

    def _check_silence(self) -> None:
        if self._held_back():
            self.heard()
        rest_s = self._heard_s + self._silence_s - self._loop.time()
        if rest_s > 0:
            self._silence = self._loop.call_later(rest_s, self._check_silence)
        else:
            self._due(ResultReason.NO_OUTPUT)
