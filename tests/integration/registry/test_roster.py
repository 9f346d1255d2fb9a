"""The roster over a real registry: links appear, move and vanish. Its rules are tested in tests/unit/core."""

import asyncio

from quarterdeck.contracts.links import Carrier, Epoch, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.registry import Found, Gone, LinkRoster, Recently, Registry
from quarterdeck.core.registry.keys import gateway_key, link_key

KEY = link_key("acme", "a1")


def link(gateway_id: str = "g1", ended_at_ms: int | None = None) -> LinkRecord:
    return LinkRecord(
        tenant="acme",
        agent_id="a1",
        gateway_id=gateway_id,
        carrier=Carrier.GRPC,
        since_ms=0,
        ended_at_ms=ended_at_ms,
        end=None if ended_at_ms is None else LinkEnd.CLOSED,
    )


class NewLinks:
    """Counts what `on_link` tells."""

    def __init__(self, roster: LinkRoster) -> None:
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        roster.on_link(lambda tenant, agent_id: self._queue.put_nowait((tenant, agent_id)))

    async def next(self) -> tuple[str, str]:
        return await asyncio.wait_for(self._queue.get(), 30)


async def test_link_is_found_with_its_epoch_until_it_ends(registry: Registry) -> None:
    """Epoch = (bucket incarnation, revision)."""
    clock = SystemClock()
    roster = LinkRoster(registry, clock)
    new_links = NewLinks(roster)
    await roster.start()
    assert roster.find("acme", "a1") == Gone(None)

    await registry.gateways.put(
        gateway_key("g1"), GatewayLease(gateway_id="g1", carrier=Carrier.GRPC, renewed_at_ms=clock.now_ms())
    )
    revision = await registry.links.put(KEY, link())
    assert await new_links.next() == ("acme", "a1")
    found = roster.find("acme", "a1")

    assert isinstance(found, Found)
    assert found.epoch == Epoch(registry.links.incarnation, revision)
    assert found.gateway_id == "g1"

    await registry.links.put(KEY, link(ended_at_ms=clock.now_ms()))
    async with asyncio.timeout(30):
        while isinstance(roster.find("acme", "a1"), Found):  # noqa: ASYNC110 - `on_link` tells of new links only
            await asyncio.sleep(0.01)
    assert isinstance(roster.find("acme", "a1"), Recently)
    await roster.close()


async def test_links_that_were_there_before_are_announced_at_the_start(registry: Registry) -> None:
    """A dispatcher that starts finds out for whom something waits."""
    await registry.links.put(KEY, link())
    roster = LinkRoster(registry, SystemClock())
    new_links = NewLinks(roster)

    await roster.start()

    assert await new_links.next() == ("acme", "a1")
    await roster.close()


async def test_newer_link_replaces_the_older(registry: Registry) -> None:
    roster = LinkRoster(registry, SystemClock())
    new_links = NewLinks(roster)
    await roster.start()
    await registry.links.put(KEY, link("g1"))
    await new_links.next()
    older = roster.find("acme", "a1")

    await registry.links.put(KEY, link("g2"))
    await new_links.next()
    newer = roster.find("acme", "a1")

    assert isinstance(older, Found)
    assert isinstance(newer, Found)
    assert newer.gateway_id == "g2"
    assert newer.epoch > older.epoch
    await roster.close()
