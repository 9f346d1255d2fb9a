"""What a run left behind, as plain values: gathered by whoever drove the load, judged by the checks beside this file.

Times are Unix milliseconds of one machine's clock: agents, services and the oracle share it.
"""

import hashlib
from functools import cached_property

import msgspec

from quarterdeck.contracts.states import CommandState
from quarterdeck.testing.oracle import Script, Start


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a client, with one idempotency key, however often it had to be sent."""

    key: str
    targets: int
    """Commands that it makes."""
    answered_ids: frozenset[str]
    """Of the command or the batch; more than one breaks I6. Empty: never answered."""
    is_batch: bool
    posts: int = 1


class StreamClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says of a command's stdout."""

    length: int
    sha256: str
    verified: bool
    """`complete` in the words of I4."""
    truncated_bytes: int = 0


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """What a download had, against what the script prints."""

    length: int
    sha256: str
    is_whole: bool
    is_prefix: bool


class CommandSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One acknowledged command after the quiet phase. `state` None: the API does not know it any more."""

    command_id: str
    script: Script
    state: CommandState | None
    agent_id: str = ""
    batch_id: str | None = None
    reason: str = ""
    attempt: int = 1
    max_attempts: int = 1
    exit_code: int | None = None
    signal: int | None = None
    has_started: bool = False
    """The API shows when it started."""
    completed_at_ms: int | None = None
    claim: StreamClaim | None = None
    printed: Printed | None = None
    """None: the log could not be read."""
    unstarted_since_ms: int | None = None
    """When a cancel was answered with `terminated`: from then on nothing may start."""


class FeedEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One `command.completed`."""

    command_id: str
    state: CommandState
    attempt: int
    sequence: int


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What one watcher of one batch got, over all its connections."""

    batch_id: str
    sequences: tuple[int, ...]
    """Of events and output, in the order of arrival."""
    feed_sequences: tuple[int, ...]
    """What the feed holds for that batch."""
    connections: int
    resyncs: int
    ended: bool
    output: dict[str, Printed]
    """stdout by command id, of each command's last attempt, as this watcher put it together."""
    gaps: int = 0
    """Chunks that did not begin where the one before ended."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    orders: list[Ordered]
    commands: dict[str, CommandSeen]
    """Every command of every answered order."""
    missing_children: list[str] = []
    """Batches, with what is wrong, that do not show a command per target."""
    starts: list[Start]
    feed_ends: list[FeedEnd]
    state_ends: list[FeedEnd]
    """The same events in QD_STATE."""
    watched: list[Watched] = []
    survivors: list[str] = []
    """`<command id>.<attempt>` of processes that still run."""
    peak_bytes: dict[str, int] = {}
    """Resident memory, by role."""
    memory_bound_bytes: int = 512 * 1024 * 1024
    flushes: int = 0
    """How often all of Redis was lost."""

    @cached_property
    def starts_of(self) -> dict[str, list[Start]]:
        grouped: dict[str, list[Start]] = {}
        for start in self.starts:
            grouped.setdefault(start.command_id, []).append(start)
        return grouped


def compare(output: bytes, expected: bytes) -> Printed:
    """`output`: what was read; `expected`: what the script prints when it runs to its end."""
    return Printed(
        length=len(output),
        sha256=hashlib.sha256(output).hexdigest(),
        is_whole=output == expected,
        is_prefix=expected.startswith(output),
    )
