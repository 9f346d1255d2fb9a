"""Ctrl-C in two steps: the first lets go of the run, the second cancels it.

Owns the signal handler while a run is watched. Called by follow.py.
"""

import asyncio
import signal
from types import TracebackType
from typing import Final, Self

PATIENCE_S: Final = 3.0
"""How long a second Ctrl-C still counts; after that the process is gone, and the run goes on."""


class Interrupts:
    """Async context manager. `first` and `second` are set by SIGINT; SIGTERM and a third SIGINT end the process."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.note)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def note(self) -> None:
        """One Ctrl-C."""
        if not self.first.is_set():
            self.first.set()
        elif not self.second.is_set():
            self.second.set()
        else:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)  # the next one is Python's own

    async def second_within(self, patience_s: float) -> bool:
        """Whether a second Ctrl-C came in time."""
        try:
            async with asyncio.timeout(patience_s):
                await self.second.wait()
        except TimeoutError:
            return False
        return True
