"""Tables of the registry: fenced writes, and a memory that follows the server through everything."""

import asyncio

import pytest

from quarterdeck.contracts.links import Carrier, GatewayLease, LinkRecord
from quarterdeck.contracts.streams import GATEWAYS, LINKS
from quarterdeck.core.bus import Outgoing, ensure_streams
from quarterdeck.core.bus.streams import bucket_stream, bucket_subject
from quarterdeck.core.registry import AlreadyExists, Conflict, Entry, Registry, Table
from quarterdeck.core.registry.keys import gateway_key, link_key
from quarterdeck.embedded.nats_server import NatsServer

KEY = gateway_key("g1")


def lease(renewed_at_ms: int = 0, gateway_id: str = "g1") -> GatewayLease:
    return GatewayLease(gateway_id=gateway_id, carrier=Carrier.GRPC, renewed_at_ms=renewed_at_ms)


class Changes:
    """What a table's watch told, and a way to wait for more."""

    def __init__(self, table: Table[GatewayLease]) -> None:
        self.seen: list[tuple[str, int | None]] = []
        self._changed = asyncio.Condition()
        table.on_change(self._note)

    def _note(self, key: str, entry: Entry[GatewayLease] | None) -> None:
        self.seen.append((key, None if entry is None else entry.value.renewed_at_ms))
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, change: tuple[str, int | None]) -> None:
        async with self._changed, asyncio.timeout(30):
            await self._changed.wait_for(lambda: change in self.seen)


async def test_value_comes_back_with_its_revision(registry: Registry) -> None:
    revision = await registry.gateways.put(KEY, lease(7))

    entry = await registry.gateways.get(KEY)

    assert entry is not None
    assert (entry.value, entry.revision) == (lease(7), revision)


async def test_absent_and_deleted_keys_have_no_value(registry: Registry) -> None:
    assert await registry.gateways.get(KEY) is None
    await registry.gateways.put(KEY, lease())

    await registry.gateways.delete(KEY)

    assert await registry.gateways.get(KEY) is None


async def test_create_is_refused_where_there_is_a_value(registry: Registry) -> None:
    await registry.gateways.create(KEY, lease(1))

    with pytest.raises(AlreadyExists):
        await registry.gateways.create(KEY, lease(2))


async def test_deleted_key_may_be_created_again(registry: Registry) -> None:
    await registry.gateways.create(KEY, lease(1))
    await registry.gateways.delete(KEY)

    await registry.gateways.create(KEY, lease(2))

    entry = await registry.gateways.get(KEY)
    assert entry is not None
    assert entry.value == lease(2)


async def test_only_one_of_many_creates_wins(registry: Registry) -> None:
    """Enrolment: an agent id goes to one key."""
    outcomes = await asyncio.gather(
        *(registry.gateways.create(KEY, lease(number)) for number in range(20)), return_exceptions=True
    )

    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 19


async def test_update_of_an_old_revision_is_refused(registry: Registry) -> None:
    """A join token is used at most as often as it says."""
    first = await registry.gateways.put(KEY, lease(1))
    second = await registry.gateways.update(KEY, lease(2), first)

    with pytest.raises(Conflict) as caught:
        await registry.gateways.update(KEY, lease(3), first)

    assert (caught.value.revision, caught.value.actual) == (first, second)


async def test_delete_of_an_old_revision_is_refused(registry: Registry) -> None:
    first = await registry.gateways.put(KEY, lease(1))
    await registry.gateways.put(KEY, lease(2))

    with pytest.raises(Conflict):
        await registry.gateways.delete(KEY, first)


async def test_watch_loads_what_is_there_and_follows(registry: Registry) -> None:
    await registry.gateways.put(gateway_key("g1"), lease(1))
    await registry.gateways.put(gateway_key("g2"), lease(2))
    await registry.gateways.delete(gateway_key("g2"))
    changes = Changes(registry.gateways)

    await registry.gateways.watch()
    assert {key: entry.value for key, entry in registry.gateways.current.items()} == {"g1": lease(1)}

    await registry.gateways.put(gateway_key("g3"), lease(3))
    await changes.wait_for(("g3", 3))
    await registry.gateways.delete(gateway_key("g1"))
    await changes.wait_for(("g1", None))
    assert set(registry.gateways.current) == {"g3"}


async def test_watch_of_an_empty_bucket_is_loaded_at_once(registry: Registry) -> None:
    await asyncio.wait_for(registry.agents.watch(), 10)

    assert registry.agents.current == {}


async def test_watch_survives_a_kill_of_the_server(own_registry: Registry, nats_server: NatsServer) -> None:
    changes = Changes(own_registry.gateways)
    await own_registry.gateways.watch()

    await nats_server.kill()
    await nats_server.start()
    await own_registry.gateways.put(KEY, lease(1))

    await changes.wait_for(("g1", 1))


async def test_bucket_made_anew_is_loaded_anew(registry: Registry) -> None:
    """Epochs: a bucket made anew has a higher incarnation, and the old links are gone."""
    await registry.gateways.put(gateway_key("old"), lease(1))
    changes = Changes(registry.gateways)
    await registry.gateways.watch()

    await registry.bus.api.call(f"STREAM.DELETE.{bucket_stream(GATEWAYS)}")
    await ensure_streams(registry.bus)
    await registry.gateways.put(gateway_key("new"), lease(2))

    await changes.wait_for(("new", 2))
    assert set(registry.gateways.current) == {"new"}
    assert ("old", None) in changes.seen


async def test_incarnation_is_the_second_of_the_buckets_creation(registry: Registry) -> None:
    await registry.links.watch()

    facts = await registry.bus.stream_info(bucket_stream(LINKS))
    assert registry.links.incarnation == facts.created_ms // 1000


async def test_value_that_nobody_understands_is_skipped(registry: Registry) -> None:
    """A registry written by a newer version must not stop an older service."""
    changes = Changes(registry.gateways)
    await registry.gateways.watch()

    await registry.bus.publish(Outgoing(bucket_subject(GATEWAYS, "strange"), b"\xc1"))
    await registry.gateways.put(KEY, lease(1))

    await changes.wait_for(("g1", 1))
    assert set(registry.gateways.current) == {"g1"}


async def test_failing_callback_stops_nobody(registry: Registry) -> None:
    def explode(_key: str, _entry: Entry[GatewayLease] | None) -> None:
        raise ZeroDivisionError

    registry.gateways.on_change(explode)
    changes = Changes(registry.gateways)
    await registry.gateways.watch()

    await registry.gateways.put(KEY, lease(1))

    await changes.wait_for(("g1", 1))


async def test_ten_thousand_links_are_written_in_one_burst(registry: Registry) -> None:
    """A record per link, written at connect; a fleet connects at once."""
    await registry.links.watch()
    records = [
        LinkRecord(
            tenant="acme", agent_id=f"a{number}", gateway_id="g1", carrier=Carrier.GRPC, since_ms=number
        )
        for number in range(10_000)
    ]

    revisions = await registry.links.put_many(
        [(link_key(record.tenant, record.agent_id), record) for record in records]
    )

    assert revisions == list(range(1, 10_001))
    async with asyncio.timeout(30):
        while len(registry.links.current) < 10_000:  # noqa: ASYNC110 - the watch follows by itself
            await asyncio.sleep(0.01)
    assert registry.links.current["acme.a9999"].value == records[-1]
