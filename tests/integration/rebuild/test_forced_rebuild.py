"""A rebuild of state that is whole: only where there is a log to rebuild it from."""

import pytest

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.rebuild import Rebuilder
from tests.integration.rebuild.history import NO_WAITING, History


async def test_whole_state_is_kept_where_the_log_cannot_be_read(history: History) -> None:
    """I12: a mistyped address of NATS, as an example, costs nobody anything."""
    command_id = await history.command()
    before = await history.state()
    nowhere = await Bus.connect("nats://127.0.0.1:1", name="test", wait_s=0.1)
    try:
        with pytest.raises(Unavailable):
            await Rebuilder(nowhere, history.store, SystemClock(), NO_WAITING).rebuild(force=True)
    finally:
        await nowhere.close()

    assert await history.store.shut_shards() == 0
    assert await history.state() == before
    assert await history.store.command("t", command_id) is not None
