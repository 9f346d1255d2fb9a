"""Output on disk: what a command printed while nobody took it, and what a restart must not lose of an ended one.

One file per stream, of framed records (journal/records.py) in the stream's order; read once, from the front. All files
of an agent share a limit; beyond it, or beyond the limit of one command, the child waits in its write. A file that was
cut or damaged gives what is intact and then says so (OutputDamaged): its stream makes the loss explicit.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.journal.records import HEADER, StreamRest, checksum, frame
from quarterdeck.agent.executor.streams import CommandOutput, OutputBuffer, OutputDamaged
from quarterdeck.contracts.limits import OUTPUT_CHUNK_BYTES
from quarterdeck.core import failpoints
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

log = structlog.get_logger()

INLINE_BYTES: Final = 64 * 1024
"""So much unacknowledged output of an ended command lies in the journal itself; more goes to its spool files."""


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    directory: Path
    limit_bytes: int
    """Of all files."""
    command_limit_bytes: int
    engaged: Callable[[], bool]
    """Whether output is stuck. While it flows, a fast child is held back instead: the link is the limit, and a detour
    over the disk would only cost."""


class SpoolFile:
    """The part of one stream that is not in memory. Written at the end, read from the front."""

    __slots__ = (
        "_descriptor",
        "_exists",
        "_failed",
        "_path",
        "_spools",
        "read_at",
        "sibling",
        "size_bytes",
        "unread_bytes",
    )

    def __init__(self, spools: "Spools", path: Path) -> None:
        """Creates nothing yet."""
        self._spools = spools
        self._path = path
        self._descriptor = -1
        self._exists = False
        self._failed = False
        self.sibling: SpoolFile | None = None
        """Of the other stream of its command."""
        self.size_bytes = 0
        self.read_at = 0
        """Position of the oldest unread record."""
        self.unread_bytes = 0
        """Of output, not of file."""

    @property
    def has_room(self) -> bool:
        """Whether more may be written just now."""
        return not self._failed and self._spools.has_room(self)

    def append(self, piece: bytes) -> bool:
        """`piece`: up to 64 KiB. False when the disk does not take it: nothing of it is there, no more is tried."""
        taken = self.keep(piece)
        if taken:
            self.unread_bytes += len(piece)
        return taken

    def keep(self, piece: bytes) -> bool:
        """As `append`, for whoever comes after a crash: this process has it in memory and will not read it."""
        if self._failed:
            return False
        record = frame(piece)
        try:
            written = os.pwrite(self._open(), record, self.size_bytes)
        except OSError as error:
            log.warning("executor.spool_failed", cause=error.strerror)
            written = 0
        if written < len(record):
            self._failed = True
            return False
        self._grow(len(record))
        failpoints.reach("spool.after_write")
        return True

    def park(self) -> None:
        """Nothing is written any more, and little or nothing read: do not hold a descriptor meanwhile."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def adopt(self, read_at: int, unread_bytes: int) -> None:
        """Take over the file of an executor that is gone; from `read_at` on it should hold that much output."""
        self._exists = True
        self.read_at = read_at
        self.unread_bytes = unread_bytes
        with contextlib.suppress(OSError):  # reading it will tell
            self._grow(self._path.stat().st_size)

    def take(self) -> bytes:
        """The next piece. Raises OutputDamaged when there should be one and is not."""
        try:
            descriptor = self._open()
            header = os.pread(descriptor, HEADER.size, self.read_at)
            length, crc = HEADER.unpack(header) if len(header) == HEADER.size else (0, 0)
            if not 0 < length <= min(OUTPUT_CHUNK_BYTES, self.unread_bytes):
                raise OutputDamaged("the spool ends early")
            piece = os.pread(descriptor, length, self.read_at + HEADER.size)
        except OSError as error:
            raise OutputDamaged(f"the spool cannot be read: {error.strerror}") from error
        if len(piece) < length or checksum(length, piece) != crc:
            raise OutputDamaged("the spool is damaged")
        self.read_at += HEADER.size + length
        self.unread_bytes -= length
        return piece

    def reuse(self) -> None:
        """Everything was taken: begin again at the front."""
        if self.size_bytes:
            with contextlib.suppress(OSError):  # then later records are written over the old ones
                os.ftruncate(self._open(), 0)
            self._grow(-self.size_bytes)
        self.read_at = 0

    def remove(self) -> None:
        self.park()
        if self._exists:
            self._path.unlink(missing_ok=True)
            self._exists = False
            self._grow(-self.size_bytes)
        self.unread_bytes = 0

    def _open(self) -> int:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CLOEXEC | (0 if self._exists else os.O_CREAT | os.O_TRUNC)
            self._descriptor = os.open(self._path, flags, 0o600)
            self._exists = True
        return self._descriptor

    def _grow(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self._spools.used_bytes += size_bytes


class Spools:
    """All spool files of one executor."""

    def __init__(self, settings: SpoolSettings) -> None:
        self._settings = settings
        self.used_bytes = 0

    def prepare(self, keep: set[CommandKey]) -> None:
        """Make the directory, and remove from it what belongs to no command in `keep`. Raises OSError."""
        directory = self._settings.directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {f"{key.command_id}.{key.attempt}" for key in keep}
        for path in directory.iterdir():
            if path.name.rpartition(".")[0] not in names:
                path.unlink(missing_ok=True)

    def has_room(self, file: SpoolFile) -> bool:
        settings = self._settings
        command_bytes = file.size_bytes + (file.sibling.size_bytes if file.sibling else 0)
        return (
            command_bytes < settings.command_limit_bytes
            and self.used_bytes < settings.limit_bytes
            and settings.engaged()
        )

    def output(self, key: CommandKey, limit_bytes: int = 0) -> CommandOutput:
        """The streams of a command; `limit_bytes`: kept of each, 0 for all."""
        files = self._file(key, "stdout"), self._file(key, "stderr")
        files[0].sibling, files[1].sibling = files[1], files[0]
        return CommandOutput(
            key.command_id,
            key.attempt,
            OutputBuffer(pb.STDOUT, limit_bytes=limit_bytes, overflow=files[0]),
            OutputBuffer(pb.STDERR, limit_bytes=limit_bytes, overflow=files[1]),
        )

    def put_by(self, output: CommandOutput) -> tuple[StreamRest, StreamRest]:
        """The command has ended: see to it that its unacknowledged output outlives this process.

        What the disk does not take is still sent from memory; only a crash would lose it, and say so.
        """
        inline = sum(buffer.length - buffer.acked for buffer in output.buffers) <= INLINE_BYTES
        stdout, stderr = (_put_by(buffer, inline=inline) for buffer in output.buffers)
        failpoints.reach("spool.before_exited")
        return stdout, stderr

    def restored(
        self, key: CommandKey, rests: tuple[StreamRest, StreamRest], result: pb.Result
    ) -> CommandOutput:
        """What `put_by` left, possibly less: then it is `damaged`."""
        output = self.output(key)
        for buffer, rest, end in zip(output.buffers, rests, (result.stdout, result.stderr), strict=True):
            buffer.truncated_bytes = end.truncated_bytes
            file = buffer.overflow
            spooled_bytes = rest.length - rest.acked - len(rest.content)
            if spooled_bytes and isinstance(file, SpoolFile):
                file.adopt(rest.spool_at, spooled_bytes)
            buffer.restore(acked=rest.acked, length=rest.length, content=rest.content)
        return output

    def _file(self, key: CommandKey, name: str) -> SpoolFile:
        return SpoolFile(self, self._settings.directory / f"{key.command_id}.{key.attempt}.{name}")


def _put_by(buffer: OutputBuffer, *, inline: bool) -> StreamRest:
    buffer.seal()
    file = buffer.overflow
    content = b""
    spool_at = 0
    if isinstance(file, SpoolFile) and (file.unread_bytes or not inline):
        if file.unread_bytes:
            # The order on disk is the stream's, so what comes before goes to the journal, however much it is.
            spool_at, content = file.read_at, b"".join(buffer.rest())
        else:
            all(map(file.keep, buffer.rest()))
        all(map(file.keep, buffer.late_rest()))
        file.park()
    else:
        content = b"".join((*buffer.rest(), *buffer.late_rest()))
    return StreamRest(acked=buffer.acked, length=buffer.length, content=content, spool_at=spool_at)
