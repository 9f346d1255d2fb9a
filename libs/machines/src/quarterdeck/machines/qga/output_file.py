"""One file in the guest, read piece by piece through its agent while somebody else appends to it.

The agent forgets an end of file at once, so that reading goes on with what is appended later. Source: clearerr in
guest_file_read_unsafe, QEMU's qga/commands-posix.c.
"""

from typing import Final

from quarterdeck.machines.qga.channel import Answer
from quarterdeck.machines.qga.structures import FilePiece, Request

FIRST_READ_BYTES: Final = 16 * 1024
LARGEST_READ_BYTES: Final = 1024 * 1024
"""The agent clears and encodes that much for each read, whatever there is; libvirt hands on up to 4 MiB of text."""
_GROWTH: Final = 4


class OutputFile:
    """`path`, and the agent's `handle` for it."""

    def __init__(self, path: str, handle: int) -> None:
        self.path: Final = path
        self._handle = handle
        self._asked_bytes = FIRST_READ_BYTES
        self.taken_bytes = 0
        self._is_placed = True
        """The agent's position in the file is where we stopped. Unknown from a read until its answer has come."""
        self.more_waits = False
        """The last read brought as much as it asked for."""

    @staticmethod
    def open_request(path: str) -> Request:
        """Makes it, empty, to be read and written; answered with its handle. The agent gives it mode 0666."""
        return Request("guest-file-open", {"path": path, "mode": "w+"})

    def place_requests(self) -> list[Request]:
        """To go before a read: none, or back to where we stopped, when the answer to the last read was lost."""
        if self._is_placed:
            return []
        arguments = {"handle": self._handle, "offset": self.taken_bytes, "whence": "set"}
        return [Request("guest-file-seek", arguments)]

    def read_request(self) -> Request:
        self._is_placed = False
        return Request("guest-file-read", {"handle": self._handle, "count": self._asked_bytes})

    def write_requests(self, content: bytes) -> list[Request]:
        """All of it, to be seen by others."""
        return [
            Request("guest-file-write", {"handle": self._handle, "buf-b64": content}),
            Request("guest-file-flush", {"handle": self._handle}),
        ]

    def close_request(self) -> Request:
        return Request("guest-file-close", {"handle": self._handle})

    def take(self, answer: Answer) -> bytes:
        """What a read brought. Raises Refused, ProtocolViolation."""
        content = answer.value(FilePiece).content
        self.taken_bytes += len(content)
        self._is_placed = True
        self.more_waits = len(content) >= self._asked_bytes
        wanted = self._asked_bytes * _GROWTH if self.more_waits else FIRST_READ_BYTES
        self._asked_bytes = min(wanted, LARGEST_READ_BYTES)
        return content
