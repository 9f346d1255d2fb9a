"""What commands and batches may do, told a second time: from the drawing in ARCHITECTURE.md, not from the scripts.

Holds no Redis, no clock and nothing of the store but the names of its verdicts. `test_transitions.py` does everything
to the store and to this model, and compares.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from quarterdeck.contracts.states import BatchState
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import Verdict

_PROVEN: Final = {S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.TERMINATED, S.OUTCOME_UNKNOWN}

NEXT: Final[dict[S, set[S]]] = {
    S.PENDING: set(S)
    - {S.PENDING, S.ACCEPTED, S.EXECUTING, S.TERMINATING, S.SUCCEEDED, S.FAILED}
    - {S.OUTCOME_UNKNOWN},
    S.WAITING: {S.SENT, S.EXPIRED, S.TERMINATED, S.SKIPPED, S.UNREACHABLE},
    S.SENT: _PROVEN | {S.ACCEPTED, S.EXECUTING, S.TERMINATING, S.REJECTED, S.UNREACHABLE},
    S.ACCEPTED: _PROVEN | {S.EXECUTING, S.TERMINATING, S.REJECTED},
    S.EXECUTING: _PROVEN | {S.TERMINATING},
    S.TERMINATING: _PROVEN,
}
"""A state that is no key here is an end."""

_ROAD: Final = list(NEXT)
"""The order of truth; every end comes after all of it."""

_EVENT: Final = {
    S.WAITING: "command.waiting",
    S.SENT: "command.sent",
    S.ACCEPTED: "command.acknowledged",
    S.EXECUTING: "command.started",
    S.TERMINATING: "command.terminating",
}


FIRST_HAND_OVER: Final = "h0"
"""What the test calls the hand-over that makes a command `sent`."""


def is_end(state: S) -> bool:
    return state not in NEXT


def _truth(state: S) -> int:
    return _ROAD.index(state) if state in _ROAD else len(_ROAD)


@dataclass(eq=False)
class Batch:
    batch_id: str
    targets: tuple[str, ...]
    max_attempts: int
    state: BatchState = BatchState.PENDING
    version: int = 1
    stopping: bool = False
    children: "dict[int, Command]" = field(default_factory=dict)
    """By index; those that no chunk brought yet are missing, and count as pending."""

    @property
    def ended(self) -> bool:
        return self.state.name.startswith(("COMPLETED", "TERMINATED", "FAILED"))

    @property
    def counts(self) -> Counter[S]:
        counts = Counter(child.state for child in self.children.values())
        counts[S.PENDING] += len(self.targets) - len(self.children)
        return +counts


@dataclass(eq=False)
class Command:
    command_id: str
    agent_id: str
    max_attempts: int
    batch: Batch | None = None
    state: S = S.PENDING
    attempt: int = 1
    version: int = 1
    unproved: set[str] = field(default_factory=set)
    """Hand-overs of this attempt that may have reached the agent. Of a sent command, empty proves that none did."""

    @property
    def ended(self) -> bool:
        return is_end(self.state)


class Model:
    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.batches: list[Batch] = []
        self.events: dict[str, list[tuple[str, int]]] = {}
        """(type, version) by aggregate, in order."""
        self._touched: dict[str, Batch] = {}

    # ---- What can happen; each is one act of the store, ended by `settle`

    def created(self, command: Command) -> None:
        self.commands.append(command)
        self._tell("command.accepted", command.command_id, 1)

    def batch_created(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._tell("batch.created", batch.batch_id, 1)

    def expanded(self, batch: Batch, index: int, child: Command, to: S) -> Verdict:
        """A chunk of the batch names this child, and wants it to go `to`."""
        known = batch.children.get(index)
        if (
            known is not None
            and known.state is S.PENDING
            and known.attempt == 1
            and (batch.stopping or to is not S.PENDING)
        ):
            # An earlier delivery found no link; this one may know better.
            verdict = self.moved(known, 1, S.TERMINATED if batch.stopping else to)
            return Verdict.CREATED if verdict is Verdict.APPLIED else Verdict.EXISTS
        if known is not None:
            return Verdict.EXISTS
        batch.children[index] = child
        self.commands.append(child)
        if batch.stopping:
            to = S.TERMINATED
        if to is S.PENDING:
            return Verdict.CREATED
        verdict = self.moved(child, 1, to)
        return Verdict.CREATED if verdict is Verdict.APPLIED else verdict

    def told(self, command: Command, attempt: int, to: S) -> Verdict:
        """As `moved`; but whoever sends a child of a batch that is being stopped, stops it."""
        if to is S.SENT and command.batch is not None and command.batch.stopping:
            to = S.TERMINATING
        return self.moved(command, attempt, to)

    def moved(self, command: Command, attempt: int, to: S) -> Verdict:
        """Somebody who may say so says that `attempt` of the command is now `to`."""
        if attempt != command.attempt:
            return Verdict.BEHIND if attempt < command.attempt else Verdict.ILLEGAL
        if to is S.UNREACHABLE and _truth(command.state) >= _truth(S.SENT) and command.unproved:
            return Verdict.BEHIND  # the agent may know more
        if command.state is S.TERMINATING and to in {S.REJECTED, S.UNREACHABLE}:
            to = S.TERMINATED  # nothing started, as was asked for
        if to is S.TERMINATING and command.state in {S.PENDING, S.WAITING}:
            to = S.TERMINATED  # nobody has it yet
        if _truth(to) <= _truth(command.state):
            return Verdict.BEHIND
        if to not in NEXT[command.state]:
            return Verdict.ILLEGAL
        return self._entered(command, to)

    def deadline_passed(self, command: Command) -> None:
        """Nobody knows more of the command than its state."""
        ends = {S.PENDING: S.TIMED_OUT, S.WAITING: S.EXPIRED}
        if not command.unproved:
            ends |= {S.SENT: S.UNREACHABLE, S.TERMINATING: S.TERMINATED}
        self.moved(command, command.attempt, ends.get(command.state, S.OUTCOME_UNKNOWN))

    def handed_over(self, command: Command, attempt: int, name: str) -> bool:
        """A gateway is about to be given the order once more; whether it may."""
        allowed = command.state is S.SENT and attempt == command.attempt
        if allowed:
            command.unproved.add(name)
        return allowed

    def returned(self, command: Command, attempt: int, name: str) -> bool:
        """A gateway proves that it did not write the order of that hand-over; whether that still matters."""
        matters = command.state in {S.SENT, S.TERMINATING} and attempt == command.attempt
        if matters:
            command.unproved.discard(name)
        return matters

    def stop_asked(self, batch: Batch) -> None:
        if not batch.ended and not batch.stopping:
            batch.stopping, batch.state = True, BatchState.TERMINATING
            self._batch_tells(batch, "batch.terminating")

    def settle(self) -> None:
        """The act is over: every batch that it touched says where it stands, once."""
        touched, self._touched = self._touched, {}
        for batch in touched.values():
            counts = batch.counts
            if all(is_end(state) for state in counts):
                batch.state = self._end_of(batch, set(counts))
                self._batch_tells(batch, "batch.completed")
                continue
            if batch.state is BatchState.PENDING and set(counts) - {S.PENDING, S.UNREACHABLE}:
                batch.state = BatchState.IN_PROGRESS
            self._batch_tells(batch, "batch.progressed")

    # ----

    def _entered(self, command: Command, to: S) -> Verdict:
        batch = command.batch
        wanted = to in {S.FAILED, S.TIMED_OUT, S.UNREACHABLE} and command.state is not S.TERMINATING
        again = wanted and command.attempt < command.max_attempts and not (batch and batch.stopping)
        if batch:
            self._touched[batch.batch_id] = batch
        command.version += 1
        if again:
            command.state, command.attempt = S.PENDING, command.attempt + 1
            command.unproved = set()
            self._tell("command.attempt_failed", command.command_id, command.version)
            return Verdict.RETRIED
        if to is S.SENT:
            command.unproved = {FIRST_HAND_OVER}
        command.state = to
        self._tell(_EVENT.get(to, "command.completed"), command.command_id, command.version)
        return Verdict.APPLIED

    @staticmethod
    def _end_of(batch: Batch, states: set[S]) -> BatchState:
        if batch.stopping:
            return BatchState.TERMINATED
        if states == {S.UNREACHABLE}:
            return BatchState.FAILED_TO_START
        return (
            BatchState.COMPLETED_SUCCESSFULLY if states == {S.SUCCEEDED} else BatchState.COMPLETED_WITH_ERRORS
        )

    def _batch_tells(self, batch: Batch, event: str) -> None:
        batch.version += 1
        self._tell(event, batch.batch_id, batch.version)

    def _tell(self, event: str, aggregate_id: str, version: int) -> None:
        self.events.setdefault(aggregate_id, []).append((event, version))
