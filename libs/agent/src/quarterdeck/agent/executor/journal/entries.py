"""A command as the executor knows it, from its order until it is forgotten. No I/O."""

from enum import IntEnum
from typing import NamedTuple

from quarterdeck.agent.executor.streams import CommandOutput


class CommandKey(NamedTuple):
    command_id: str
    attempt: int


class Phase(IntEnum):
    """As in the protocol; REPORTED is never sent, since the gateway knows everything by then."""

    RECEIVED = 1
    STARTING = 2
    RUNNING = 3
    EXITED = 4
    REPORTED = 5


class Report(NamedTuple):
    """One message that is repeated until acknowledged."""

    seq: int
    message: bytes
    """AgentMessage, serialised."""
    key: CommandKey
    output: CommandOutput | None = None
    """All of it goes out before this report."""
    final: bool = False


class Span(NamedTuple):
    """Where a record lies in the journal's file."""

    start: int
    end: int


class Entry:
    """One command, from its order until it is forgotten."""

    __slots__ = ("accepted", "batch_id", "guest", "key", "output", "phase", "reports", "span")

    def __init__(self, key: CommandKey, batch_id: str, phase: Phase = Phase.RECEIVED) -> None:
        self.key = key
        self.batch_id = batch_id
        self.guest = ""
        """Where it runs; empty: on this very host."""
        self.phase = phase
        self.accepted = False
        """The gateway was told that we have the order."""
        self.output: CommandOutput | None = None
        self.reports: list[Report] = []
        """Everything reported so far, in order: the answer to a duplicate."""
        self.span: Span | None = None
        """Its latest record, which says all that a restart needs. None: it could not be written."""
