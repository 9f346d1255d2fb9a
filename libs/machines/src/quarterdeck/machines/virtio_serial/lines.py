"""Lines out of pieces, bounded: what comes without an end is dropped up to the next one. Sans-IO; for json_lines.py."""

from collections import deque


class LineTooLong(Exception):
    """It was dropped, or will be as it comes; the next line is whole."""


class LineReader:
    """Feed pieces, take lines. Holds what was fed and not taken, and of a line without an end `max_line_bytes`."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._ready: deque[bytes | None] = deque()
        """None: a line that was too long."""
        self._begun = bytearray()
        self._dropping = False

    def feed(self, piece: bytes) -> None:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._take(part)
            if not self._dropping and self._begun.strip():
                self._ready.append(bytes(self._begun))
            self._begun.clear()
            self._dropping = False
        self._take(rest)

    def next_line(self) -> bytes | None:
        """Without its line break, and never a blank one; None when there is none yet. Raises LineTooLong, once each."""
        if not self._ready:
            return None
        line = self._ready.popleft()
        if line is None:
            raise LineTooLong
        return line

    def _take(self, part: bytes) -> None:
        if self._dropping:
            return
        if len(self._begun) + len(part) > self._max_line_bytes:
            self._ready.append(None)
            self._begun.clear()
            self._dropping = True
        else:
            self._begun += part
