"""Reads a child's output while it appears, no faster than the gateway takes it.

Owns the read end of one pipe on the event loop. When the buffer has no room, reading stops and the child blocks in its
write. After the child's end, what it had written is still taken; a grandchild that keeps the pipe open does not hold
the command.
"""

import array
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable
from functools import partial
from typing import Final

from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.agent.executor.streams import OutputBuffer
from quarterdeck.agent.executor.watcher import Watcher
from quarterdeck.core.clock import Clock

READ_BYTES: Final = 64 * 1024
"""A pipe's default capacity (pipe(7))."""

_READS_PER_TURN: Final = 4
"""Then others have their turn. Four reads fill a frame; a frame for each costs a seventh more CPU (measured)."""
_WIDE_PIPE_BYTES: Final = _READS_PER_TURN * READ_BYTES


class PipeReader:
    """From one file descriptor into one OutputBuffer. Owns the descriptor until `release`."""

    def __init__(
        self,
        descriptor: int,
        buffer: OutputBuffer,
        outlet: Outlet,
        watcher: Watcher,
        clock: Clock,
        on_activity: Callable[[], None],
    ) -> None:
        """`on_activity`: called after each read, and at end of file."""
        self._descriptor = descriptor
        self._buffer = buffer
        self._outlet = outlet
        self._watcher = watcher
        self._clock = clock
        self._on_activity = on_activity
        self._reading = False
        self._widened = False
        self.ended = False
        """End of file was seen, or nothing more is wanted."""
        os.set_blocking(descriptor, False)
        self.resume()

    @property
    def held_back(self) -> bool:
        """The child may be waiting for us."""
        return not self.ended and not self._reading

    def resume(self) -> None:
        """Go on reading, if there is room."""
        if not self.ended and not self._reading and self._buffer.has_room:
            self._reading = True
            self._watcher.watch(self._descriptor, self._on_readable)

    def take_rest(self) -> None:
        """The writer has ended: take all that it left in the pipe, room or not (at most the pipe's capacity)."""
        if self.ended:
            return
        left_bytes = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, left_bytes)
        wanted = left_bytes[0]
        while wanted > 0 and (taken := self._read(wanted)):
            wanted -= taken
        if not self.ended:
            self._read(READ_BYTES)  # end of file, unless somebody else still holds the pipe

    def release(self) -> int:
        """Stop reading. Returns the descriptor, which is the caller's from now on."""
        self._stop()
        self.ended = True
        return self._descriptor

    def _on_readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if self._read(READ_BYTES) < READ_BYTES or not self._buffer.has_room:
                break
            if not self._widened:
                self._widen()
                break
        if not self.ended and not self._buffer.has_room:
            self._stop()
        self._on_activity()

    def _widen(self) -> None:
        """A full pipe is bulk output: let the child write more before it waits for us, and us read more at a time."""
        self._widened = True
        # EPERM beyond the user's share of pipe memory: then it goes on as it is. Source: pipe(7).
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _WIDE_PIPE_BYTES)

    def _read(self, limit_bytes: int) -> int:
        try:
            piece = os.read(self._descriptor, min(limit_bytes, READ_BYTES))
        except BlockingIOError:
            return 0
        if not piece:
            self._stop()
            self.ended = True
            return 0
        if self._buffer.append(piece, self._clock.now_ms()):
            self._outlet.appended(self._buffer)
        return len(piece)

    def _stop(self) -> None:
        if self._reading:
            self._reading = False
            self._watcher.forget(self._descriptor)


class Drain:
    """Keeps pipes flowing that daemons inherited from an ended command.

    Closing them would kill a daemon at its next write.
    """

    def __init__(self, watcher: Watcher, max_pipes: int = 256) -> None:
        """`max_pipes`: beyond it the oldest is closed after all."""
        self._watcher = watcher
        self._max_pipes = max_pipes
        self._descriptors: dict[int, None] = {}

    def adopt(self, descriptor: int) -> None:
        """Read and forget until the last writer is gone."""
        self._descriptors[descriptor] = None
        self._watcher.watch(descriptor, partial(self._discard, descriptor))
        if len(self._descriptors) > self._max_pipes:
            self._close(next(iter(self._descriptors)))

    def close(self) -> None:
        for descriptor in list(self._descriptors):
            self._close(descriptor)

    def _discard(self, descriptor: int) -> None:
        try:
            if not os.read(descriptor, READ_BYTES):
                self._close(descriptor)
        except BlockingIOError:
            pass

    def _close(self, descriptor: int) -> None:
        del self._descriptors[descriptor]
        self._watcher.forget(descriptor)
        os.close(descriptor)
