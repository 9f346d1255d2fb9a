"""`--log-dir`: one file per machine and stream with exactly the bytes that it printed, checked by digest.

Owns the files. What arrived live is written as it arrives; at the end each file is held against the agent's digest, and
one that differs (bytes were missed, or the watch began late) is fetched again as a whole.
Called through presentation.py.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream

Fetch = Callable[[str, str], AsyncIterator[bytes]]
"""(command_id, stream) → the whole stored output, in pieces."""


def make(directory: Path) -> None:
    """So that a run whose output could not be kept is not ordered at all. Raises UsageError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--log-dir {directory}: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"--log-dir {directory}: nothing can be written there")


class LogDir:
    """A Sink. `incomplete` names, after finish, the files that do not have the agent's digest."""

    def __init__(self, directory: Path, fetch: Fetch) -> None:
        """Makes the directory. Raises UsageError."""
        make(directory)
        self._directory = directory
        self._fetch = fetch
        self._attempts: dict[str, int] = {}
        self.incomplete: list[Path] = []

    def path(self, target: str, stream: OutputStream) -> Path:
        """`agent.stdout`, or `agent@guest.stdout`; targets were checked against their pattern."""
        return self._directory / f"{target.replace('/', '@')}.{stream}"

    def output(self, chunk: Chunk) -> None:
        self._begin(chunk.row)
        with self.path(chunk.row.target, chunk.stream).open("ab") as file:
            file.write(chunk.content)

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        """The digest will tell, and the file will be fetched."""

    def changed(self, row: Row) -> None:
        self._begin(row)

    async def finish(self, board: Board) -> None:
        """Fetches what is not what the agent sent. Raises ApiProblem, ServerUnreachable."""
        for row in board.rows.values():
            self._begin(row)
            for stream in OutputStream:
                if row.ended and not self._whole(row, stream):
                    await self._fetch_again(row, stream)

    def _begin(self, row: Row) -> None:
        if self._attempts.get(row.command_id) == row.attempt:
            return
        self._attempts[row.command_id] = row.attempt
        for stream in OutputStream:
            self.path(row.target, stream).write_bytes(b"")

    def _whole(self, row: Row, stream: OutputStream) -> bool:
        length = row.stdout_bytes if stream is OutputStream.STDOUT else row.stderr_bytes
        digest = row.stdout_sha256 if stream is OutputStream.STDOUT else row.stderr_sha256
        path = self.path(row.target, stream)
        if path.stat().st_size != length:
            return False
        with path.open("rb") as file:
            return not digest or hashlib.file_digest(file, "sha256").hexdigest() == digest

    async def _fetch_again(self, row: Row, stream: OutputStream) -> None:
        path = self.path(row.target, stream)
        with path.open("wb") as file:
            async for piece in self._fetch(row.command_id, stream):
                file.write(piece)
        if not self._whole(row, stream):
            self.incomplete.append(path)
