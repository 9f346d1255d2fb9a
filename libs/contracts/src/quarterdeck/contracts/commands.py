"""What is ordered: the specification of a command, written once and carried unchanged from the API to the agent."""

from enum import StrEnum

import msgspec

from quarterdeck.contracts.limits import (
    DEFAULT_GRACE_MS,
    DEFAULT_MAX_OUTPUT_BYTES,
    DEFAULT_TIMEOUT_MS,
    PRIORITY_DEFAULT,
)


class Lane(StrEnum):
    """Three filtered consumers of QD_COMMANDS, so that an urgent command never queues behind a bulk batch."""

    URGENT = "urgent"
    NORMAL = "normal"
    BULK = "bulk"

    @classmethod
    def of(cls, priority: int) -> "Lane":
        """`priority` 1–10, 10 highest: from 8 urgent, to 3 bulk."""
        if priority >= 8:
            return cls.URGENT
        return cls.NORMAL if priority >= 4 else cls.BULK


class TimeoutClock(StrEnum):
    """Where a command's timeout starts to run."""

    CREATION = "creation"
    """Seed 0's meaning: the caller waits no longer than this."""
    START = "start"
    """From process start, measured by the agent."""


class Retry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    max_attempts: int = 1
    """1 to 10, the first included."""
    backoff_ms: int = 1000
    """Before the second attempt; doubles with each further one."""


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="command_spec/1"):
    """One order without its target. A batch has one for all its children."""

    command_type: str
    """`shell`, `exec`, or a type that a handler on the agent registered."""
    payload: bytes
    """JSON text, at most MAX_PAYLOAD_BYTES. `shell`: {"command": …} or {"script": "#!…"}; `exec`: {"argv": […]}."""
    working_directory: str | None = None
    env: dict[str, str] = {}
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    timeout_from: TimeoutClock = TimeoutClock.START
    no_output_timeout_ms: int | None = None
    grace_ms: int = DEFAULT_GRACE_MS
    """Between SIGTERM and SIGKILL, when the command is terminated or times out."""
    priority: int = PRIORITY_DEFAULT
    queue_for_ms: int | None = None
    """How long the command may wait for an agent that is offline; None: not at all."""
    retry: Retry = Retry()
    max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES
    """Kept of each stream, from its start. What comes after is read, counted and dropped: the command is not slowed."""
    depends_on: tuple[str, ...] = ()
    """Commands and batches that must have succeeded first. One that ends in any other way lets this be skipped."""
    needs_approval: bool = False
    """The tenant's policy wants somebody else to approve it before it is sent."""

    @property
    def runs_from_creation(self) -> bool:
        """Whether the timeout has been running since creation. A command that may wait starts its time when sent."""
        may_wait = self.queue_for_ms is not None or self.held
        return self.timeout_from is TimeoutClock.CREATION and not may_wait

    @property
    def held(self) -> bool:
        """Whether it has to wait for something else than its agent."""
        return bool(self.depends_on) or self.needs_approval

    @property
    def lane(self) -> Lane:
        return Lane.of(self.priority)
