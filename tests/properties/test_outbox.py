"""Store, relay and a real nats-server: whatever is lost on the way and whoever dies, each event arrives, and once."""

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from quarterdeck.contracts import subjects
from quarterdeck.contracts.commands import CommandSpec, Retry
from quarterdeck.contracts.errors import NotConfirmed
from quarterdeck.contracts.events import EventRecord
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, StoredMessage, ensure_streams
from quarterdeck.core.bus.messages import MSG_ID
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import Move, NewCommand, OutboxEntry, Store, Written
from quarterdeck.embedded.nats_server import NatsServer
from quarterdeck.embedded.redis_server import RedisServer
from tests.effort import effort
from tests.properties.bench import SHARDS, TENANT, Bench
from tests.properties.shaky_bus import LOUD, Fault, ShakyBus

_faults: Final = st.sampled_from(Fault)
_shards: Final = st.sampled_from(SHARDS)
_SPEC: Final = CommandSpec(command_type="shell", payload=b"{}", retry=Retry(max_attempts=5, backoff_ms=1))


class Outbox(RuleBasedStateMachine):
    def __init__(self, bench: Bench, bus: Bus) -> None:
        super().__init__()
        self.bench = bench
        self.bus = bus
        self.tenant = f"{TENANT}-{new_id()}"
        """Of this example alone: the feed keeps what earlier examples published."""
        self.commands: list[str] = []
        self.committed: list[str] = []
        """The ids of all events that a script ever wrote, in the order of writing."""
        self.well_published: list[list[str]] = []
        """The event ids of each act that nothing went wrong with."""
        self.undisturbed = True
        self.shaky = ShakyBus(bus)
        self._start_writer()

    @initialize()
    def begin(self) -> None:
        self.bench.clear()

    def _start_writer(self) -> None:
        """A process with a store and a relay of its own."""
        self.store = self.bench.new_store()
        self.relay = Relay(cast(Bus, self.shaky), self.store)

    @rule(shard=_shards, fault=_faults)
    def create(self, shard: int, fault: Fault) -> None:
        self._publish(self._create(shard), fault)

    @rule(states=st.lists(st.sampled_from([S.SENT, S.EXECUTING, S.FAILED]), min_size=1), fault=_faults)
    def move_all(self, states: list[S], fault: Fault) -> None:
        """One act with many events, of several shards and several of one command."""
        moves = [
            Move(command_id, attempt, to, 1)
            for command_id in self.commands
            for attempt in range(1, 6)
            for to in states
        ]
        if moves:
            self._publish(self.bench.do(self.store.apply(moves)), fault)

    @rule(shard=_shards)
    def writer_dies_before_it_publishes(self, shard: int) -> None:
        self._commit(self._create(shard))
        self._die()

    @rule()
    def writer_dies(self) -> None:
        """With it what it had published and was about to forget."""
        self._die()

    @rule(fault=_faults)
    def sweep(self, fault: Fault) -> None:
        self._sweep(fault)

    @invariant()
    def nothing_is_forgotten_before_it_is_stored(self) -> None:
        waiting = {record.event_id for record in self.bench.outbox()}
        assert set(self.committed) <= waiting | self.shaky.stored

    def teardown(self) -> None:
        try:
            self._everything_is_in_the_feed()
        finally:
            self.bench.do(_abandon(self.store))

    def _everything_is_in_the_feed(self) -> None:
        while self._sweep(Fault.NONE):
            pass
        assert self.bench.outbox() == []
        feed = [message.headers[MSG_ID] for message in self.bench.do(self._feed())]
        assert sorted(feed) == sorted(self.committed)
        place = {event_id: index for index, event_id in enumerate(feed)}
        for act in [self.committed] if self.undisturbed else self.well_published:
            assert sorted(act, key=place.__getitem__) == act

    # ----

    def _create(self, shard: int) -> Written:
        new = NewCommand(
            command_id=new_id(shard),
            tenant=self.tenant,
            user_id="u",
            agent_id="a1",
            spec=_SPEC,
            created_at_ms=1,
            event_payload={"agent_id": "a1"},
        )
        self.commands.append(new.command_id)
        return self.bench.do(self.store.create_command(new))

    def _publish(self, written: Written, fault: Fault) -> None:
        self._commit(written)
        self.shaky.fault = fault
        try:
            self.bench.do(self.relay.publish(written.entries))
        except NotConfirmed:
            assert fault in LOUD
            self.undisturbed = False
        else:
            assert fault not in LOUD or not written.entries
            self.well_published.append([_event_id(entry) for entry in written.entries])

    def _sweep(self, fault: Fault) -> int:
        self.shaky.fault = fault
        try:
            return self.bench.do(self.relay.sweep(SHARDS, older_than_ms=0))
        except NotConfirmed:
            assert fault in LOUD
            return 0

    def _commit(self, written: Written) -> None:
        for entry in written.entries:
            assert _event_id(entry) not in self.committed
            self.committed.append(_event_id(entry))

    def _die(self) -> None:
        self.undisturbed = False
        self.bench.do(_abandon(self.store))
        self._start_writer()

    async def _feed(self) -> list[StoredMessage]:
        feed = self.bus.read(FEED, list(subjects.watch_tenant(self.tenant)), follow=False)
        return [message async for messages in feed for message in messages]


async def _abandon(store: Store) -> None:
    """As a SIGKILL: what was confirmed and not yet removed stays."""
    store._forgetting._confirmed.clear()
    await store.close()


def _event_id(entry: OutboxEntry) -> str:
    return msgspec.msgpack.decode(entry.body, type=EventRecord).event_id


@pytest.fixture
def bench(session_redis_server: RedisServer) -> Iterator[Bench]:
    bench = Bench(session_redis_server.url)
    yield bench
    bench.close()


@pytest.fixture
def bus(bench: Bench, session_nats_server: NatsServer) -> Iterator[Bus]:
    bus = bench.do(Bus.connect(session_nats_server.url, name="outbox-machine"))
    bench.do(ensure_streams(bus))
    yield bus
    bench.do(bus.close())


def test_every_event_arrives_once_and_in_order(bench: Bench, bus: Bus) -> None:
    """I1, S3-9: nothing leaves the outbox before the bus has it, and publishing twice is publishing once."""
    machine: Any = lambda: Outbox(bench, bus)  # noqa: E731  # Hypothesis calls it once per example
    run_state_machine_as_test(machine, settings=effort(30, steps=12))
