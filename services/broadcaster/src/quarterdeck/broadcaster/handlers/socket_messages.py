"""A batch over a WebSocket: `{"type", "payload"}` in seed 4's words, one JSON text per message. Pure.

What the feed holds becomes lines, `<entity> <version> <JSON text>`, which all sockets of a batch share. Each socket
drops the lines that are older than what it told of that entity before, so that no client ever sees a state go back.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from quarterdeck.contracts import subjects
from quarterdeck.contracts.events import BATCH, COMMAND, COMMAND_OUTPUT_LOST, rfc3339
from quarterdeck.contracts.output import OFFSET_HEADER, TIME_HEADER
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import StoredMessage
from quarterdeck.core.store import BatchView, CommandView
from quarterdeck.web.fates import error_message
from quarterdeck.web.tasks import STATUS_OF, NameOf, count_statuses, summary, task

BATCH_TASK_CREATED: Final = "BATCH_TASK_CREATED"
BATCH_TASK_UPDATE: Final = "BATCH_TASK_UPDATE"
CHILD_TASK_UPDATE: Final = "CHILD_TASK_UPDATE"
NEW_LOG_OUTPUT: Final = "NEW_LOG_OUTPUT"

_ALWAYS: Final = b"-"
"""In place of an entity: the line is told whatever was told before."""

_SLICE_BYTES: Final = 64 * 1024
"""Of output in one message. Stored chunks are larger, and common clients refuse messages of more than 1 MiB."""
_MAX_CONTINUATION_BYTES: Final = 3
"""Of a character in UTF-8, behind its first. Source: RFC 3629 §3."""


class Line(NamedTuple):
    entity: str
    version: int
    text: str

    @property
    def versioned(self) -> bool:
        return self.entity != _ALWAYS.decode()


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    payload: Any
    id: str = ""
    """As of an SSE frame; `?last_event_id=` resumes behind it."""


class BatchUpdate(msgspec.Struct, frozen=True, kw_only=True):
    batch_command_id: str
    overall_status: str
    total: int | None
    counts: dict[str, int]
    """Tasks per status."""
    updated_at: str


class TaskUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of a task. `task` told the rest when the socket was opened."""

    child_command_id: str
    vps_id: str
    status: str
    exit_code: int | None
    error_message: str | None
    stdout_truncated_bytes: int
    stderr_truncated_bytes: int
    via: str | UnsetType = UNSET
    """Absent where the event does not tell it."""
    updated_at: str


class LogOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk: contiguous with the one before it of the same stream and attempt."""

    child_command_id: str
    attempt: int
    stream_type: str
    """STDOUT or STDERR."""
    chunk: str
    """Text; bytes that are no valid UTF-8, which a chunk may begin or end in the middle of, are replaced."""
    chunk_base64: str | None
    """The very bytes, where `chunk` is not exact."""
    offset: int
    length: int
    """In bytes."""
    timestamp: str | None


class _Event(msgspec.Struct):
    type: str
    subject: str
    time: str
    aggregateversion: int
    data: msgspec.Raw


class _Moved(msgspec.Struct):
    """Of a CommandMoved, what a task shows. A Fate."""

    state: CommandState
    agent_id: str
    guest: str | None = None
    reason: str | None = None
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    via: str | UnsetType = UNSET
    stdout_truncated: int = 0
    stderr_truncated: int = 0

    @property
    def target(self) -> str:
        return self.agent_id if self.guest is None else f"{self.agent_id}/{self.guest}"


class _BatchMoved(msgspec.Struct):
    state: str
    counts: dict[CommandState, int] = {}
    total: int | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_moved = msgspec.json.Decoder(_Moved).decode
_decode_batch = msgspec.json.Decoder(_BatchMoved).decode
_encode = msgspec.json.Encoder().encode


def encode(messages: Iterable[StoredMessage], incarnation: int) -> bytes:
    """Lines of all that a socket tells; empty when there is nothing."""
    return b"".join(line for message in messages for line in _lines(message, f"{incarnation}-"))


def decode(piece: bytes) -> Iterator[Line]:
    """The lines of what `encode` answered."""
    for line in piece.splitlines():  # JSON of ours has no other line breaks than the one behind it
        entity, version, text = line.split(b" ", 2)
        yield Line(entity.decode(), int(version), text.decode())


def created(view: BatchView, event_id: str = "") -> str:
    """The batch without its tasks: they follow, one message each."""
    return _text(BATCH_TASK_CREATED, summary(view), event_id)


def child(view: CommandView, name_of: NameOf) -> str:
    """A task as it stands: the members of the REST answer."""
    return _text(CHILD_TASK_UPDATE, task(view, name_of))


def _text(kind: str, payload: Any, event_id: str = "") -> str:
    return _encode(_Message(type=kind, payload=payload, id=event_id)).decode()


def _lines(message: StoredMessage, id_prefix: str) -> Iterator[bytes]:
    event_id = f"{id_prefix}{message.sequence}"
    if subjects.is_output(message.subject):
        for start, end in _slices(message.body):
            # Only the last has the id: resuming behind an earlier one would lose what follows it.
            last_id = event_id if end == len(message.body) else ""
            payload = _output(message, start, end)
            text = _encode(_Message(type=NEW_LOG_OUTPUT, payload=payload, id=last_id))
            yield b"%b 0 %b\n" % (_ALWAYS, text)
        return
    subject = subjects.parse_event(message.subject)
    event = _decode_event(message.body)
    if event.type == COMMAND_OUTPUT_LOST:
        text = _encode(_Message(type="ERROR", payload=_lost(event), id=event_id))
        yield b"%b 0 %b\n" % (_ALWAYS, text)
    elif subject.entity == COMMAND:
        text = _encode(_Message(type=CHILD_TASK_UPDATE, payload=_task_update(event), id=event_id))
        yield b"%b %d %b\n" % (event.subject.encode(), event.aggregateversion, text)
    elif subject.entity == BATCH and subject.verb != "created":
        text = _encode(_Message(type=BATCH_TASK_UPDATE, payload=_batch_update(event), id=event_id))
        yield b"%b %d %b\n" % (event.subject.encode(), event.aggregateversion, text)


def _slices(body: bytes) -> Iterator[tuple[int, int]]:
    """(first byte, byte behind the last) of pieces that a client takes even where JSON needs six bytes for each."""
    start = 0
    while start < len(body):
        end = min(start + _SLICE_BYTES, len(body))
        for _ in range(_MAX_CONTINUATION_BYTES):  # not in the middle of a character
            if end == len(body) or body[end] & 0xC0 != 0x80:
                break
            end -= 1
        yield start, end
        start = end


def _output(message: StoredMessage, start: int, end: int) -> LogOutput:
    body = message.body[start:end]
    subject = subjects.parse_output(message.subject)
    at_ms = message.headers.get(TIME_HEADER)
    try:
        text, exact = body.decode(), None
    except UnicodeDecodeError:
        text, exact = body.decode(errors="replace"), base64.b64encode(body).decode()
    return LogOutput(
        child_command_id=subject.command_id,
        attempt=subject.attempt,
        stream_type=subject.stream.upper(),
        chunk=text,
        chunk_base64=exact,
        offset=int(message.headers.get(OFFSET_HEADER, "0")) + start,
        length=len(body),
        timestamp=None if at_ms is None else rfc3339(int(at_ms)),
    )


def _task_update(event: _Event) -> TaskUpdate:
    moved = _decode_moved(event.data)
    return TaskUpdate(
        child_command_id=event.subject,
        vps_id=moved.target,
        status=STATUS_OF[moved.state],
        exit_code=moved.exit_code,
        error_message=error_message(moved),
        stdout_truncated_bytes=moved.stdout_truncated,
        stderr_truncated_bytes=moved.stderr_truncated,
        via=moved.via,
        updated_at=event.time,
    )


def _batch_update(event: _Event) -> BatchUpdate:
    moved = _decode_batch(event.data)
    return BatchUpdate(
        batch_command_id=event.subject,
        overall_status=moved.state,
        total=moved.total,
        counts=count_statuses(moved.counts),
        updated_at=event.time,
    )


def _lost(event: _Event) -> dict[str, Any]:
    """A gap that will never be filled. `data`: CommandOutputLost."""
    return {
        "code": "output_lost",
        "detail": "a part of the output is missing from the log",
        "child_command_id": event.subject,
        **msgspec.json.decode(event.data, type=dict[str, Any]),
    }
