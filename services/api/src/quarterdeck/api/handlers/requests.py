"""Every request body and query of the API. Unknown members are refused: a misspelt `timeout` must not run for an hour.

Seconds are numbers and may have a fraction; members of later versions are known by name, so that they are refused as
`unsupported_value` and never ignored.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

Seconds = int | float
Preset = Literal["quick", "normal", "long"]
"""A timeout by name: 10, 30 or 60 seconds (S0-16)."""
Pattern = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.*?-]{1,64}$")]
Later = Raw | UnsetType
"""A member that this version does not serve."""


class RetryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_attempts: int = 1
    """1 to 10, the first included."""
    backoff_ms: int = 1000


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be said of any command, single or one of many."""

    timeout: Seconds | Preset | None = None
    """Seconds, or a preset. Of a single command from its creation, of a batch's from process start."""
    queue_for: Seconds | None = None
    """Seconds that the command may wait for an agent that is offline."""
    no_output_timeout: Seconds | None = None
    grace: Seconds | None = None
    """Seconds between SIGTERM and SIGKILL."""
    max_output_bytes: int | None = None
    """Kept of each stream; what is printed beyond it is dropped and counted."""
    priority: int | None = None
    retry: RetryBody | None = None
    working_directory: str | None = None
    env: dict[str, str] | None = None
    depends_on: list[str] = []
    """Commands and batches that must have succeeded first."""
    selector: Later = UNSET
    waves: Later = UNSET
    max_failures: Later = UNSET


class SubmitCommand(Options, frozen=True, kw_only=True):
    """POST /api/command (S0-1)."""

    client_id: str
    """`agent` or `agent/guest`."""
    command_type: str
    payload: Raw | UnsetType = UNSET
    """Any JSON."""


class SubmitClientBatch(Options, frozen=True, kw_only=True):
    """POST /api/command/batch (S0-41)."""

    client_ids: list[str]
    command_type: str
    payload: Raw | UnsetType = UNSET
    """Any JSON."""


class SubmitBatch(Options, frozen=True, kw_only=True):
    """POST /api/batch_commands (S4-1). Exactly one of command_content, script_id and command_type."""

    target_vps_ids: list[str]
    command_content: str | None = None
    script_id: str | None = None
    command_type: str | None = None
    payload: Raw | UnsetType = UNSET
    """Of `command_type`."""
    execution_alias: str | None = None


class ReplacePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PUT /api/policy: all of it, what is left out included."""

    allowed: Annotated[list[Pattern], Meta(max_length=500)] | None = None
    """Command types that may be ordered, `*` and `?` as in file names; null: all."""
    needs_approval: Annotated[list[Pattern], Meta(max_length=500)] = []
    """Command types that somebody else must approve before they are sent."""
    cached: dict[str, Annotated[int, Meta(ge=1, le=1800)]] = {}
    """Command types that only ask, and for how many seconds a success answers the same question again."""


class CreateToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/tokens."""

    principal: str
    expires_in_s: Annotated[int, Meta(ge=1, le=100 * 365 * 24 * 3600)] | None = None
    """A century at most: a moment behind the year 9999 has no date that anybody could be shown."""


class CreateJoinToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/tokens/join."""

    ttl_s: Annotated[int, Meta(ge=1, le=365 * 24 * 3600)] = 900
    uses: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    labels: dict[str, str] = {}


Limit = Annotated[int, Meta(ge=1, le=1000)]


class WaitQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    wait: Annotated[float, Meta(ge=0, le=300)] = 0
    """Seconds to wait for a terminal state."""


class BatchQuery(WaitQuery, frozen=True, kw_only=True):
    offset: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=0)] | None = None
    """Of the tasks shown; all of them when absent."""


class CommandsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    client_id: str | None = None
    status: str | None = None
    limit: Limit = 100
    cursor: str | None = None


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Limit = 100
    cursor: str | None = None


class OutputQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stream: str | None = None
    """`stdout` (when absent) or `stderr`; absent with NDJSON: both."""
    offset: Annotated[int, Meta(ge=0)] = 0
    attempt: Annotated[int, Meta(ge=1)] | None = None
    text: Annotated[int, Meta(ge=0, le=1)] = 0
    """1: NDJSON shows valid UTF-8 as text."""
    ticket: str | None = None
    """Was redeemed at the gate."""


class AgentsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    label: list[str] = []
    """`name=value`, or `name` for any value; all must fit."""
    connected: bool | None = None
