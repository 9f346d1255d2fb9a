"""Commands saved, loaded and listed by a program that embeds the store."""

from collections.abc import AsyncIterator

import pytest

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, ensure_streams
from quarterdeck.core.command_store import CommandStore, TenantCommands
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import Move, Store, StoreSettings
from tests.integration.store.samples import AT_MS, a_command


@pytest.fixture
async def bus(shared_nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(shared_nats_url, name="command-store")
    await ensure_streams(bus, 1)
    yield bus
    await bus.close()


async def test_commands_are_saved_loaded_and_listed(store: Store, bus: Bus) -> None:
    """S0-38: also by another program after a restart, and told to the world like any other."""
    commands: CommandStore = TenantCommands(store, Relay(bus, store), "t")
    first, second, third = new_id(), new_id(), new_id()

    saved = [
        await commands.save(a_command(first, agent_id="a1")),
        await commands.save(a_command(second, agent_id="a2")),
        await commands.save(a_command(third, agent_id="a1")),
    ]
    await store.apply([Move(first, 1, S.SENT, AT_MS)])
    loaded = await commands.load(first)

    assert saved == [first, second, third]
    assert loaded is not None
    assert (loaded.agent_id, loaded.state) == ("a1", S.SENT)
    assert {view.command_id for view in await commands.list()} == {first, second, third}
    assert {view.command_id for view in await commands.list(agent_id="a1")} == {first, third}
    assert [view.command_id for view in await commands.list(agent_id="a1", states=[S.PENDING])] == [third]
    assert (await bus.stream_info(FEED)).messages == 3


async def test_another_tenant_sees_and_saves_nothing_here(store: Store, bus: Bus) -> None:
    """S0-38, I11"""
    command_id = new_id()
    await TenantCommands(store, Relay(bus, store), "t").save(a_command(command_id))
    others = TenantCommands(store, Relay(bus, store), "other")

    assert await others.load(command_id) is None
    assert not await others.list()
    with pytest.raises(InvalidInput, match="tenant"):
        await others.save(a_command(new_id()))


async def test_saving_again_is_saving_once(shared_redis_url: str, store: Store, bus: Bus) -> None:
    """S0-35, S0-38: another process finds what this one saved."""
    command_id = new_id()
    await TenantCommands(store, Relay(bus, store), "t").save(a_command(command_id))
    later = Store(StoreSettings(url=shared_redis_url))
    try:
        assert await TenantCommands(later, Relay(bus, later), "t").save(a_command(command_id)) == command_id
        assert len(await TenantCommands(later, Relay(bus, later), "t").list()) == 1
    finally:
        await later.close()
