"""The store's scripts on a real Redis against the model: whatever anybody reports, in whatever order, they agree."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from quarterdeck.contracts.commands import CommandSpec, Retry, TimeoutClock
from quarterdeck.contracts.ids import child_id, new_id
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import Amendment, Child, HandOver, Move, NewBatch, NewCommand, RawEntry, Verdict
from quarterdeck.embedded.redis_server import RedisServer
from tests.effort import effort
from tests.properties.bench import SHARDS, TENANT, Bench
from tests.properties.model import FIRST_HAND_OVER, Batch, Command, Model

_AGENTS = ("a1", "a2", "a3")
_agents = st.sampled_from(_AGENTS)
_attempts = st.sampled_from([1, 2, 3])
_states = st.sampled_from(list(S))
_likely = st.sampled_from([S.SENT, S.ACCEPTED, S.EXECUTING, S.TERMINATING, S.SUCCEEDED, S.FAILED, S.REJECTED])
_ends = st.sampled_from([S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.UNREACHABLE, S.TERMINATED])
_decisions = st.sampled_from([S.SENT, S.PENDING, S.WAITING, S.UNREACHABLE])
_hand_overs = st.sampled_from([FIRST_HAND_OVER, FIRST_HAND_OVER, "h1", "h2"])
_AN_HOUR_MS = 3_600_000


def _now_ms() -> int:
    return int(time.time() * 1000)


def _fields(to: S) -> dict[str, Any]:
    """What the dispatcher writes with the move: a queue has a deadline of its own, a hand-over has a name."""
    if to is S.WAITING:
        return {"deadline_at_ms": _now_ms() + _AN_HOUR_MS}
    return {"unproved": f"{FIRST_HAND_OVER} "} if to is S.SENT else {}


class Transitions(RuleBasedStateMachine):
    commands = Bundle("commands")
    batches = Bundle("batches")

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.store = bench.store
        self.model = Model()

    @initialize()
    def begin(self) -> None:
        self.bench.clear()

    # ---- Taking in

    @rule(
        target=commands,
        shard=st.sampled_from(SHARDS),
        agent=_agents,
        attempts=_attempts,
        from_creation=st.booleans(),
        away=st.booleans(),
    )
    def create(self, shard: int, agent: str, attempts: int, from_creation: bool, away: bool) -> Command:
        command = Command(new_id(shard), agent, attempts)
        end = Move(command.command_id, 1, S.UNREACHABLE, _now_ms()) if away else None
        new = NewCommand(
            command_id=command.command_id,
            tenant=TENANT,
            user_id="u",
            agent_id=agent,
            spec=_spec(attempts, from_creation=from_creation),
            created_at_ms=_now_ms(),
            event_payload={"agent_id": agent},
            end=end,
        )
        self.bench.do(self.store.create_command(new))
        again = self.bench.do(self.store.create_command(new))

        self.model.created(command)
        if away:
            self.model.moved(command, 1, S.UNREACHABLE)
        assert again.existing_id == command.command_id
        assert again.entries == []
        return command

    @rule(
        target=batches,
        shard=st.sampled_from(SHARDS),
        agents=st.lists(_agents, min_size=1, max_size=4),
        attempts=_attempts,
    )
    def create_batch(self, shard: int, agents: list[str], attempts: int) -> Batch:
        batch = Batch(new_id(shard), tuple(agents), attempts)
        new = NewBatch(
            batch_id=batch.batch_id,
            tenant=TENANT,
            user_id="u",
            spec=_spec(attempts),
            targets=batch.targets,
            created_at_ms=_now_ms(),
            original_request=b"{}",
            event_payloads=({"offset": 0},),
        )
        self.bench.do(self.store.create_batch(new))
        self.model.batch_created(batch)
        return batch

    @rule(target=commands, batch=batches, data=st.data())
    def expand(self, batch: Batch, data: st.DataObject) -> Any:
        """A chunk, or a part of one, for the first time or again."""
        indexes = st.lists(st.sampled_from(range(len(batch.targets))), min_size=1, unique=True)
        return self._expand(batch, [(index, data.draw(_decisions)) for index in data.draw(indexes)])

    @rule(target=commands, batch=batches, to=_decisions)
    def expand_all(self, batch: Batch, to: S) -> Any:
        return self._expand(batch, [(index, to) for index in range(len(batch.targets))])

    # ---- What is said of a command

    @rule(data=st.data(), states=st.lists(_likely, min_size=1, max_size=3))
    def report(self, data: st.DataObject, states: list[S]) -> None:
        """An agent, about the attempt that runs; nearly always what comes next."""
        living = [command for command in self.model.commands if not command.ended]
        if living:
            command = data.draw(st.sampled_from(living))
            for to in states:
                self._apply([(command, command.attempt, to, command.agent_id)])

    @rule(target=commands, batch=batches, end=_ends, stopped=st.booleans())
    def run_all(self, batch: Batch, end: S, stopped: bool) -> Any:
        """The whole batch goes out, is stopped perhaps, and everybody who has an order reports the same in one pull."""
        born = self._expand(batch, [(index, S.SENT) for index in range(len(batch.targets))])
        if stopped:
            self.stop_batch(batch)
        under_way = [child for child in batch.children.values() if not child.ended]
        self._apply([(child, child.attempt, end, child.agent_id) for child in under_way])
        return born

    @rule(data=st.data())
    def pull(self, data: st.DataObject) -> None:
        """Anything by anybody in any order, in one pull: early, late, twice, of another attempt, by another agent."""
        if not self.model.commands:
            return
        said = data.draw(
            st.lists(
                st.tuples(
                    st.sampled_from(self.model.commands),
                    st.integers(-1, 1),
                    _states,
                    st.sampled_from(["own", "own", "dispatcher", "another"]),
                ),
                min_size=1,
                max_size=6,
            )
        )
        self._apply(
            [
                (
                    command,
                    command.attempt + step,
                    to,
                    {"own": command.agent_id, "another": "stranger"}.get(who, ""),
                )
                for command, step, to, who in said
            ]
        )

    @rule(to=_states)
    def report_of_nobody(self, to: S) -> None:
        written = self.bench.do(self.store.apply([Move(new_id(SHARDS[0]), 1, to, 1)]))

        assert [outcome.verdict for outcome in written.outcomes] == [Verdict.UNKNOWN]
        assert written.entries == []

    @rule(command=commands, step=st.integers(-1, 1))
    def progress(self, command: Command, step: int) -> None:
        """Output so far; changes nothing of the state."""
        amendment = Amendment(
            command.command_id, command.attempt + step, {"stdout_bytes": 3}, f"{TENANT}/{command.agent_id}"
        )
        self.bench.do(self.store.amend([amendment]))

    @rule(command=commands, step=st.sampled_from([0, 0, 0, -1, 1]), name=_hand_overs)
    def hand_over(self, command: Command, step: int, name: str) -> None:
        """A `sent` command is offered to a gateway once more."""
        attempt = command.attempt + step
        if name in command.unproved:
            return
        allowed = self.model.handed_over(command, attempt, name)
        self._note(HandOver(command.command_id, attempt, returned=False, handover=name), allowed)

    @rule(command=commands, step=st.sampled_from([0, 0, 0, -1, 1]), name=_hand_overs)
    def give_back(self, command: Command, step: int, name: str) -> None:
        """A gateway proves that it never wrote the order of one hand-over."""
        attempt = command.attempt + step
        matters = self.model.returned(command, attempt, name)
        self._note(HandOver(command.command_id, attempt, returned=True, handover=name), matters)

    # ---- Stops, links, time

    @rule(batch=batches)
    def stop_batch(self, batch: Batch) -> None:
        message = RawEntry("qd.command.t.urgent", f"{batch.batch_id}-terminate", b"stop")
        was_stopped = batch.stopping or batch.ended

        written = self.bench.do(self.store.terminate_batch(TENANT, batch.batch_id, [message]))

        self.model.stop_asked(batch)
        assert written.batch_state is batch.state
        assert len(written.entries) == (0 if was_stopped else 2)

    @rule(agent=_agents, to=st.sampled_from([S.SENT, S.WAITING]))
    def link_comes(self, agent: str, to: S) -> None:
        """What waited for the agent is found, all of it and nothing else, and goes."""
        due = self.bench.do(self.store.take_waiting([(TENANT, agent)]))

        waiting = [c for c in self.model.commands if c.agent_id == agent and c.state is S.WAITING]
        assert {item.command_id for item in due} == {command.command_id for command in waiting}
        self._apply([(command, command.attempt, to, "") for command in waiting])

    @rule(command=commands)
    def stop(self, command: Command) -> None:
        self._apply([(command, command.attempt, S.TERMINATING, "")])

    @rule(command=commands)
    def deadline_passes(self, command: Command) -> None:
        """The dispatchers' sweep ends what is overdue, and nothing else."""
        past_ms = _now_ms() - 1_000
        self.bench.do(
            self.store.amend([Amendment(command.command_id, command.attempt, {"deadline_at_ms": past_ms})])
        )
        self.bench.do(self.store.look_again([command.command_id], -1, now_ms=past_ms))
        overdue = [] if command.ended else [command]

        due, written = self.bench.do(self.store.take_due(SHARDS))

        for late in overdue:
            self.model.deadline_passed(late)
        self.model.settle()
        assert [outcome.command_id for outcome in written.outcomes] == [late.command_id for late in overdue]
        assert not {item.command_id for item in due} & {c.command_id for c in self.model.commands if c.ended}

    # ---- What always holds

    @invariant()
    def commands_are_as_the_model_says(self) -> None:
        for command in self.model.commands:
            stored = self.bench.command(command.command_id, command.agent_id)
            assert (stored.state, stored.attempt, stored.version) == (
                command.state,
                command.attempt,
                command.version,
            )
            assert stored.filed_under == {str(command.state)}
            assert stored.attended is not command.ended
            assert stored.expires is command.ended
            assert stored.waits is (command.state is S.WAITING)

    @invariant()
    def batches_count_their_children(self) -> None:
        for batch in self.model.batches:
            stored = self.bench.batch(batch.batch_id)
            assert (stored.state, stored.version) == (batch.state, batch.version)
            assert stored.counts == batch.counts
            assert sum(stored.counts.values()) == len(batch.targets)
            assert stored.expires is batch.ended

    @invariant()
    def every_change_left_its_event(self) -> None:
        """Versions grow by one with each event, event ids are unique, and an end is told once."""
        told: dict[str, list[tuple[str, int]]] = {}
        event_ids = []
        for record in self.bench.outbox():
            told.setdefault(record.aggregate_id, []).append((record.type, record.version))
            event_ids.append(record.event_id)
        assert told == self.model.events
        assert len(event_ids) == len(set(event_ids))
        for events in told.values():
            versions = [version for _, version in events]
            assert versions == list(range(versions[0], versions[0] + len(events)))
            ends = [kind for kind, _ in events if kind.endswith(".completed")]
            assert len(ends) <= 1
            assert not ends or events[-1][0] == ends[0]

    # ----

    def _expand(self, batch: Batch, decisions: list[tuple[int, S]]) -> Any:
        """One chunk: (index of the child, where the dispatcher sends it). Answers those that it brought."""
        indexes, states = [index for index, _ in decisions], [to for _, to in decisions]
        born = [
            Command(child_id(batch.batch_id, index), batch.targets[index], batch.max_attempts, batch=batch)
            for index in indexes
        ]
        written = self.bench.do(
            self.store.expand(
                tenant=TENANT,
                user_id="u",
                batch_id=batch.batch_id,
                spec=_spec(batch.max_attempts),
                created_at_ms=_now_ms(),
                at_ms=_now_ms(),
                children=[
                    Child(child.command_id, child.agent_id, None, to, _fields(to), 1)
                    for child, to in zip(born, states, strict=True)
                ],
            )
        )
        expected = [
            self.model.expanded(batch, index, child, to)
            for index, child, to in zip(indexes, born, states, strict=True)
        ]
        self.model.settle()
        assert [outcome.verdict for outcome in written.outcomes] == expected
        return multiple(*(child for child in born if child in batch.children.values()))

    def _note(self, handing: HandOver, applies: bool) -> None:
        outcomes = self.bench.do(self.store.hand_over([handing]))
        assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED if applies else Verdict.BEHIND]

    def _apply(self, said: list[tuple[Command, int, S, str]]) -> None:
        """One pull of the aggregator: (command, attempt, state, by which agent; empty: ourselves)."""
        moves = [
            Move(
                command.command_id,
                attempt,
                to,
                _now_ms(),
                _fields(to),
                by=f"{TENANT}/{agent}" if agent else "",
            )
            for command, attempt, to, agent in said
        ]
        written = self.bench.do(self.store.apply(moves))
        expected = [
            self.model.told(command, attempt, to) if agent in {"", command.agent_id} else Verdict.FOREIGN
            for command, attempt, to, agent in said
        ]
        self.model.settle()
        assert [outcome.verdict for outcome in written.outcomes] == expected


def _spec(attempts: int, *, from_creation: bool = False) -> CommandSpec:
    return CommandSpec(
        command_type="shell",
        payload=b"{}",
        timeout_from=TimeoutClock.CREATION if from_creation else TimeoutClock.START,
        retry=Retry(max_attempts=attempts, backoff_ms=1),
    )


@pytest.fixture
def bench(session_redis_server: RedisServer) -> Iterator[Bench]:
    bench = Bench(session_redis_server.url)
    yield bench
    bench.close()


def test_the_scripts_agree_with_the_model(bench: Bench) -> None:
    """I1, I3, I8, S4-13, S4-15, S4-21, S4-24, S4-37F: one order of truth, counters that add up, an event a change."""
    machine: Any = lambda: Transitions(bench)  # noqa: E731  # Hypothesis calls it once per example
    run_state_machine_as_test(machine, settings=effort(100, steps=40))
