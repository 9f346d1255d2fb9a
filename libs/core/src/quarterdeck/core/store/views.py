"""What the store knows of a command or a batch, as one typed value. Absent is None; times are Unix milliseconds."""

import base64
import hashlib
from typing import Any, Self

import msgspec

from quarterdeck.contracts import codec
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.errors import DecodeError, InvalidCursor
from quarterdeck.contracts.states import BatchState, CommandState

_specs = codec.Decoder[CommandSpec](CommandSpec)
_targets: msgspec.msgpack.Decoder[tuple[str, ...]] = msgspec.msgpack.Decoder(tuple[str, ...])


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    """One output stream of one command, as far as it was reported."""

    length: int = 0
    sha256: str = ""
    """Hex, of the agent; empty until the end."""
    verified: bool = False
    """What the bus stored has the agent's length and digest."""
    truncated_bytes: int = 0
    tail: bytes = b""
    lost: tuple[tuple[int, int], ...] = ()
    """What the log does not have any more: (first byte, byte behind the last), as far as anybody noticed."""


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """A command. `spec` comes from its batch when it has one."""

    command_id: str
    tenant: str
    user_id: str
    agent_id: str
    spec: CommandSpec
    state: CommandState
    attempt: int
    version: int
    created_at_ms: int
    updated_at_ms: int
    deadline_at_ms: int
    guest: str | None = None
    batch_id: str | None = None
    via: str | None = None
    """The wire that it took, as `links.Via` writes it."""
    gateway_id: str | None = None
    cached_from: str | None = None
    """The command whose answer this one was given instead of being sent."""
    reason: str | None = None
    error: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: str | None = None
    """JSON text."""
    sent_at_ms: int | None = None
    accepted_at_ms: int | None = None
    started_at_ms: int | None = None
    last_output_at_ms: int | None = None
    completed_at_ms: int | None = None
    stdout: StreamView = StreamView()
    stderr: StreamView = StreamView()
    session_id: str | None = None
    round: int | None = None
    """Of the session, from 1."""

    @property
    def target(self) -> str:
        return self.agent_id if self.guest is None else f"{self.agent_id}/{self.guest}"


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    batch_id: str
    tenant: str
    user_id: str
    spec: CommandSpec
    targets: tuple[str, ...]
    state: BatchState
    version: int
    terminate_requested: bool
    original_request: bytes
    created_at_ms: int
    updated_at_ms: int
    counts: dict[CommandState, int]
    """Children per state; sums up to len(targets)."""
    execution_alias: str | None = None
    completed_at_ms: int | None = None


COMMAND_FIELDS = (
    "tenant",
    "user_id",
    "agent_id",
    "spec",
    "state",
    "attempt",
    "version",
    "created_at_ms",
    "updated_at_ms",
    "deadline_at_ms",
    "guest",
    "batch_id",
    "via",
    "gateway_id",
    "cached_from",
    "reason",
    "error",
    "exit_code",
    "signal",
    "result",
    "sent_at_ms",
    "accepted_at_ms",
    "started_at_ms",
    "last_output_at_ms",
    "completed_at_ms",
    "session_id",
    "round",
    *(
        f"{stream}_{what}"
        for stream in ("stdout", "stderr")
        for what in ("bytes", "sha256", "verified", "truncated", "tail", "lost")
    ),
)
"""The hash fields that make a CommandView, in the order read_commands.lua is asked for them."""

BATCH_FIELDS = (
    "tenant",
    "user_id",
    "spec",
    "targets",
    "state",
    "version",
    "terminate_requested",
    "original_request",
    "created_at_ms",
    "updated_at_ms",
    "execution_alias",
    "completed_at_ms",
)


def command_view(command_id: str, row: list[Any], batch_spec: CommandSpec | None) -> CommandView:
    """`row`: values of COMMAND_FIELDS, falsy where absent."""
    v = dict(zip(COMMAND_FIELDS, row, strict=True))
    spec = _specs.decode(v["spec"]) if v["spec"] else batch_spec
    if spec is None:
        raise DecodeError(f"command {command_id} has no spec")
    return CommandView(
        command_id=command_id,
        tenant=_text(v["tenant"]) or "",
        user_id=_text(v["user_id"]) or "",
        agent_id=_text(v["agent_id"]) or "",
        spec=spec,
        state=CommandState(_text(v["state"]) or ""),
        attempt=int(v["attempt"]),
        version=int(v["version"]),
        created_at_ms=int(v["created_at_ms"]),
        updated_at_ms=int(v["updated_at_ms"]),
        deadline_at_ms=int(v["deadline_at_ms"]),
        guest=_text(v["guest"]),
        batch_id=_text(v["batch_id"]),
        via=_text(v["via"]),
        gateway_id=_text(v["gateway_id"]),
        cached_from=_text(v["cached_from"]),
        reason=_text(v["reason"]),
        error=_text(v["error"]),
        exit_code=_number(v["exit_code"]),
        signal=_number(v["signal"]),
        result=_text(v["result"]),
        sent_at_ms=_number(v["sent_at_ms"]),
        accepted_at_ms=_number(v["accepted_at_ms"]),
        started_at_ms=_number(v["started_at_ms"]),
        last_output_at_ms=_number(v["last_output_at_ms"]),
        completed_at_ms=_number(v["completed_at_ms"]),
        stdout=_stream(v, "stdout"),
        stderr=_stream(v, "stderr"),
        session_id=_text(v["session_id"]),
        round=_number(v["round"]),
    )


def batch_view(batch_id: str, row: list[Any], counts: dict[bytes, bytes]) -> BatchView:
    v = dict(zip(BATCH_FIELDS, row, strict=True))
    return BatchView(
        batch_id=batch_id,
        tenant=v["tenant"].decode(),
        user_id=v["user_id"].decode(),
        spec=_specs.decode(v["spec"]),
        targets=_targets.decode(v["targets"]),
        state=BatchState(v["state"].decode()),
        version=int(v["version"]),
        terminate_requested=v["terminate_requested"] == b"1",
        original_request=v["original_request"],
        created_at_ms=int(v["created_at_ms"]),
        updated_at_ms=int(v["updated_at_ms"]),
        counts={CommandState(state.decode()): int(n) for state, n in counts.items() if int(n)},
        execution_alias=_text(v["execution_alias"]),
        completed_at_ms=_number(v["completed_at_ms"]),
    )


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """`total`: how many match in all; `next_cursor`: None on the last page."""

    ids: list[str]
    total: int
    next_cursor: str | None


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended, bound to the query that it belongs to."""

    query: str
    after: str

    @classmethod
    def fingerprint(cls, *parts: str) -> str:
        return hashlib.blake2b("\x00".join(parts).encode(), digest_size=6).hexdigest()

    def encode(self) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, query: str) -> Self:
        """Raises InvalidCursor when `text` is no cursor, or one of another query."""
        try:
            cursor = msgspec.msgpack.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (ValueError, msgspec.MsgspecError) as error:
            raise InvalidCursor(
                "cursor: expected a next_cursor of an earlier answer", field="cursor", value=text
            ) from error
        if cursor.query != query:
            raise InvalidCursor("cursor: belongs to another query", field="cursor", value=text)
        return cursor


def _stream(v: dict[str, Any], name: str) -> StreamView:
    if not v[f"{name}_bytes"]:
        return StreamView()
    return StreamView(
        length=int(v[f"{name}_bytes"]),
        sha256=_text(v[f"{name}_sha256"]) or "",
        verified=v[f"{name}_verified"] in (b"1", "1"),
        truncated_bytes=int(v[f"{name}_truncated"] or 0),
        tail=_raw(v[f"{name}_tail"]),
        lost=_parts(_text(v[f"{name}_lost"])),
    )


def _parts(text: str | None) -> tuple[tuple[int, int], ...]:
    """`from-to,from-to`, as lose_output.lua writes it."""
    parts = (part.partition("-") for part in (text or "").split(",") if part)
    return tuple((int(start), int(end)) for start, _, end in parts)


def _raw(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _text(value: bytes | str | None) -> str | None:
    if not value:
        return None
    return value if isinstance(value, str) else value.decode()


def _number(value: bytes | str | None) -> int | None:
    return int(value) if value else None
