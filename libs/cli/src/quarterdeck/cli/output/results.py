"""`--format json` and `--format jsonl`: a run for programs. Called through presentation.py.

Owns the two shapes. Output is given as text, or as `…_base64` when it is no UTF-8. In `json` each stream is kept up to
KEPT_BYTES, and `…_truncated` says so; in `jsonl` nothing is kept, pieces are printed as they arrive.
"""

import base64
from collections.abc import Callable
from typing import Any, Final

import msgspec

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.watch import Chunk
from quarterdeck.contracts.output import OutputStream

KEPT_BYTES: Final = 1024 * 1024
"""Per machine and stream, in `json`."""

Print = Callable[[str], None]
"""Prints one line on stdout."""


class JsonLines:
    """A Sink: one object per line, `{"type": "output" | "state" | "end", …}`."""

    def __init__(self, batch_id: str, print_line: Print) -> None:
        self._batch_id = batch_id
        self._print = print_line

    def output(self, chunk: Chunk) -> None:
        members = {"stream": chunk.stream, "attempt": chunk.row.attempt, "offset": chunk.offset}
        self._say("output", chunk.row, {**members, **_content("text", chunk.content)})

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        self._say("gap", row, {"stream": stream, "missing_bytes": missing_bytes})

    def changed(self, row: Row) -> None:
        self._say("state", row, facts(row))

    async def finish(self, board: Board) -> None:
        self._print(_encode({"type": "end", "batch_id": self._batch_id, "counts": dict(board.counts)}))

    def _say(self, kind: str, row: Row, members: dict[str, Any]) -> None:
        self._print(_encode({"type": kind, "target": row.target, "command_id": row.command_id, **members}))


class JsonDocument:
    """A Sink: one document when the run is over."""

    def __init__(self, batch_id: str, print_line: Print) -> None:
        self._batch_id = batch_id
        self._print = print_line
        self._kept: dict[tuple[str, int, OutputStream], bytearray] = {}

    def output(self, chunk: Chunk) -> None:
        key = (chunk.row.command_id, chunk.row.attempt, chunk.stream)
        kept = self._kept.setdefault(key, bytearray())
        kept += chunk.content[: KEPT_BYTES - len(kept)]

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        """Seen in the lengths."""

    def changed(self, row: Row) -> None:
        """The last state counts."""

    async def finish(self, board: Board) -> None:
        results = [self._result(row) for row in board.rows.values()]
        document = {"batch_id": self._batch_id, "counts": dict(board.counts), "results": results}
        self._print(msgspec.json.format(_encode(document)))

    def _result(self, row: Row) -> dict[str, Any]:
        result = {"target": row.target, "command_id": row.command_id, **facts(row)}
        for stream in OutputStream:
            kept = bytes(self._kept.get((row.command_id, row.attempt, stream), b""))
            result.update(_content(stream, kept))
            length = row.stdout_bytes if stream is OutputStream.STDOUT else row.stderr_bytes
            if row.ended and len(kept) < length:
                result[f"{stream}_truncated"] = True
        return result


def facts(row: Row) -> dict[str, Any]:
    """What is known of a command besides its output; absent members are left out."""
    members = {name: value for name, value in msgspec.structs.asdict(row).items() if value not in {None, ""}}
    for name in ("command_id", "target", "version"):
        members.pop(name, None)
    if isinstance(members.get("result"), str):
        members["result"] = msgspec.Raw(members["result"].encode())
    return members


def _content(name: str, content: bytes) -> dict[str, str]:
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
