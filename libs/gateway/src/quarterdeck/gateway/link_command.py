"""What a link knows of one command attempt that it carries: where its output goes, and the result that waits for it."""

from typing import Final

from quarterdeck.contracts.reports import StreamReport
from quarterdeck.gateway.stream_writer import StreamWriter
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

EMPTY_DIGEST = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""SHA-256 of nothing. Source: FIPS 180-4."""

_MOST_BYTES: Final = 2**53 - 1
"""The largest count that scripts and every reader of JSON hold exactly. Source: RFC 8259 §6."""


class LinkCommand:
    """From the order (or the journal entry of a Hello) until the agent's result is stored and acknowledged."""

    __slots__ = (
        "asked_again",
        "attempt",
        "batch_id",
        "command_id",
        "ended",
        "ends",
        "result",
        "stderr",
        "stdout",
        "written_at_s",
    )

    def __init__(self, command_id: str, attempt: int, batch_id: str | None) -> None:
        self.command_id = command_id
        self.attempt = attempt
        self.batch_id = batch_id
        self.written_at_s: float | None = None
        """When the order went out, until the agent answered it."""
        self.stdout: StreamWriter | None = None
        self.stderr: StreamWriter | None = None
        self.result: pb.Result | None = None
        """Held back: the bus does not have all of its output yet."""
        self.ended = False
        """The result went on to the aggregator: nothing is told of the command after it."""
        self.ends: dict[int, int] = {}
        """Of the streams whose length the agent's result vouches for: how long they are, in bytes."""
        self.asked_again = False
        """The agent was asked, since it sent `result`, for output that never came."""

    @property
    def writers(self) -> list[StreamWriter]:
        return [writer for writer in (self.stdout, self.stderr) if writer is not None]


def final_report(end: pb.StreamEnd, writer: StreamWriter | None) -> StreamReport:
    """What the agent says of a whole stream, beside what we stored of it. Nobody behind us may choke on its counts."""
    length, truncated_bytes = min(end.length, _MOST_BYTES), min(end.truncated_bytes, _MOST_BYTES)
    if writer is None:
        stored_sha256 = EMPTY_DIGEST if end.length == 0 else b""
        return StreamReport(
            length=length,
            sha256=end.sha256,
            stored_sha256=stored_sha256,
            truncated_bytes=truncated_bytes,
        )
    if not end.sha256 and end.length < writer.stored_offset:
        # The agent lost count (its executor was killed): what is stored is there, and nobody vouches for it.
        return StreamReport(length=writer.stored_offset, truncated_bytes=truncated_bytes, tail=writer.tail)
    return StreamReport(
        length=length,
        sha256=end.sha256,
        stored_sha256=writer.digest,
        truncated_bytes=truncated_bytes,
        tail=writer.tail,
    )


def progress_report(writer: StreamWriter | None) -> StreamReport | None:
    """What is stored of a stream so far; None when nothing is."""
    if writer is None or writer.stored_offset == 0:
        return None
    return StreamReport(length=writer.stored_offset, tail=writer.tail)
