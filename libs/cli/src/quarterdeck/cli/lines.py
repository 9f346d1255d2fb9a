"""Byte chunks of one stream → whole lines, in bounded memory.

Owns the piece of a line that has not ended yet. Pure; one splitter per machine and stream. Called by the sinks that
prefix lines: two machines must never share a line on the screen.
"""

from typing import Final

MAX_LINE_BYTES: Final = 64 * 1024
"""A line that grows beyond this is handed out in pieces."""


class LineSplitter:
    """Feed it chunks; it answers the lines that they complete, each with its line feed."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._partial = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """All that may be shown now: whole lines, or a piece of an endless one with a line feed behind it."""
        end = chunk.rfind(b"\n") + 1
        if end == 0:
            self._partial += chunk
            return self._overflow()
        whole = bytes(self._partial) + chunk[:end]
        self._partial[:] = chunk[end:]
        return whole + self._overflow()

    def flush(self) -> bytes:
        """The last line, with the line feed that its machine did not send; empty when there is none."""
        if not self._partial:
            return b""
        last = bytes(self._partial) + b"\n"
        self._partial.clear()
        return last

    def _overflow(self) -> bytes:
        return self.flush() if len(self._partial) > self._max_line_bytes else b""
