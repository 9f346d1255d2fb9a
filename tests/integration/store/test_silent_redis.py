"""A Redis that keeps its connections and answers nothing."""

import pytest

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.store import Store, StoreSettings
from quarterdeck.embedded.redis_server import RedisServer


async def test_call_that_is_not_answered_says_so_and_the_next_one_works(redis_server: RedisServer) -> None:
    store = Store(StoreSettings(url=redis_server.url))
    await store.initialise()

    redis_server.pause()
    with pytest.raises(Unavailable, match="redis: no answer within 5 s"):
        await store.list_commands("t")
    redis_server.resume()

    assert (await store.list_commands("t")).total == 0
    await store.close()
