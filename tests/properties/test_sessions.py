"""Sessions on a real Redis against a model: whoever asks under which key, in whatever order, and whatever happens."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.events import SESSION_ROUND_CREATED
from quarterdeck.contracts.ids import new_id, shard_of
from quarterdeck.contracts.sessions import ANY_AGENT
from quarterdeck.contracts.states import TERMINAL
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.core.store import Enqueued, Idempotency, Move, NewRound, Standing
from quarterdeck.embedded.redis_server import RedisServer
from tests.effort import effort
from tests.properties.bench import SHARDS, TENANT, Bench

_SPEC = CommandSpec(command_type="greet", payload=b"{}", queue_for_ms=1_800_000)
_keys = st.sampled_from([None, "k1", "k2", "k3"])
_bodies = st.sampled_from(["a", "a", "b"])
_moves = st.sampled_from([S.WAITING, S.SENT, S.ACCEPTED, S.SUCCEEDED, S.FAILED, S.UNREACHABLE, S.TERMINATING])


@dataclass
class Conversation:
    session_id: str
    commands: list[str] = field(default_factory=list)
    """By round."""
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Key → (body, command)."""
    ended: bool = True
    """The newest command has."""


class Conversations(RuleBasedStateMachine):
    conversations = Bundle("conversations")

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.known: list[Conversation] = []
        self.untold: set[str] = set()
        """Commands whose messages no writer published."""

    @initialize()
    def start(self) -> None:
        self.bench.clear()

    @rule(target=conversations, shard=st.sampled_from(SHARDS))
    def begin(self, shard: int) -> Conversation:
        conversation = Conversation(new_id(shard))
        self.bench.do(
            self.bench.store.create_session(TENANT, conversation.session_id, "u", round(time.time() * 1000))
        )
        self.known.append(conversation)
        return conversation

    @rule(conversation=conversations, key=_keys, body=_bodies, dies=st.booleans())
    def ask(self, conversation: Conversation, key: str | None, body: str, dies: bool) -> None:
        """`dies`: the writer, before it has published anything."""
        new = _round(conversation.session_id, key, body)

        enqueued = self.bench.do(self.bench.store.enqueue(new))

        assert (enqueued.standing, enqueued.command_id) == self._expected(conversation, key, body, new)
        if enqueued.standing is Standing.NEW:
            conversation.commands.append(enqueued.command_id)
            conversation.ended = False
            if key is not None:
                conversation.keys[key] = body, enqueued.command_id
            self.untold.add(enqueued.command_id)
        self._told(enqueued, dies=dies)

    @rule(conversation=conversations, to=_moves)
    def move(self, conversation: Conversation, to: S) -> None:
        if not conversation.commands:
            return
        command_id = conversation.commands[-1]
        view = self.bench.do(self.bench.store.command(TENANT, command_id))
        assert view is not None
        fields = {"agent_id": "a1", "unproved": ""} if to is S.SENT else {}
        self.bench.do(self.bench.store.apply([Move(command_id, view.attempt, to, 1, fields)]))
        view = self.bench.do(self.bench.store.command(TENANT, command_id))
        assert view is not None
        assert view.state is not S.UNREACHABLE  # in the time that it has, another one may do it
        conversation.ended = view.state in TERMINAL

    @invariant()
    def rounds_are_numbered_without_gaps(self) -> None:
        for conversation in self.known:
            stored = self.bench.do(self.bench.store.rounds(conversation.session_id))
            assert stored == list(enumerate(conversation.commands, start=1))

    @invariant()
    def every_untold_event_waits_in_the_outbox(self) -> None:
        waiting = [e.command_id for e in self.bench.outbox() if e.type == SESSION_ROUND_CREATED]
        assert sorted(str(one) for one in waiting) == sorted(self.untold)

    def _expected(
        self, conversation: Conversation, key: str | None, body: str, new: NewRound
    ) -> tuple[Standing, str]:
        if key in conversation.keys:
            known_body, command_id = conversation.keys[key]
            return (Standing.KEY, command_id) if known_body == body else (Standing.CONFLICT, "")
        if not conversation.ended:
            return Standing.PENDING, conversation.commands[-1]
        return Standing.NEW, new.command_id

    def _told(self, enqueued: Enqueued, *, dies: bool) -> None:
        if enqueued.command_id in self.untold:
            # Whoever asks is given all that an earlier writer did not get to tell.
            assert len(enqueued.entries) == 2  # command.accepted and session.round_created
            if not dies:
                self.bench.do(self.bench.store.forget(enqueued.entries))
                self.untold.discard(enqueued.command_id)
        else:
            assert enqueued.entries == []


def _round(session_id: str, key: str | None, body: str) -> NewRound:
    command_id = new_id(shard_of(session_id))
    return NewRound(
        session_id=session_id,
        tenant=TENANT,
        user_id="u",
        command_id=command_id,
        spec=_SPEC,
        created_at_ms=round(time.time() * 1000),
        messages=(),
        accepted={"agent_id": ANY_AGENT, "session_id": session_id},
        told={"session_id": session_id, "command_id": command_id},
        idempotency=None if key is None else Idempotency.of(TENANT, "u", key, body, session_id=session_id),
    )


@pytest.fixture
def bench(session_redis_server: RedisServer) -> Iterator[Bench]:
    bench = Bench(session_redis_server.url)
    yield bench
    bench.close()


def test_one_command_at_a_time_and_no_event_is_lost(bench: Bench) -> None:
    """S3-5, S3-6, S3-7"""
    machine: Any = lambda: Conversations(bench)  # noqa: E731  # Hypothesis calls it once per example
    run_state_machine_as_test(machine, settings=effort(25, steps=25))
