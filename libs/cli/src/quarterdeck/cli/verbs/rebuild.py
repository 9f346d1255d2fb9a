"""`qd rebuild`: the state in Redis, once more from the log of events. Talks to the brokers, not to the API.

Exit codes: 0 rebuilt, or nothing to rebuild; 1 a broker is away or the log is not there; 3 somebody else is rebuilding.
"""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen


def rebuild(
    *,
    nats_url: Annotated[str, Parameter(env_var="QD_NATS_URL")] = "nats://127.0.0.1:4222",
    redis_url: Annotated[str, Parameter(env_var="QD_REDIS_URL")] = "redis://127.0.0.1:6379/0",
    force: bool = False,
) -> int:
    """Rebuild lost state from the log of events. Dispatchers do this by themselves; this is for when none runs.

    Parameters
    ----------
    nats_url
        Where the log is; as the services know it.
    redis_url
        Where the state is; as the services know it.
    force
        Drop what is there and rebuild all of it. Meanwhile everybody waits.
    """
    return asyncio.run(_rebuild(nats_url, redis_url, force=force))


async def _rebuild(nats_url: str, redis_url: str, *, force: bool) -> int:
    # Redis and its client cost a fifth of a second that no other verb should pay.
    from quarterdeck.core import logging
    from quarterdeck.core.bus import Bus
    from quarterdeck.core.clock import SystemClock
    from quarterdeck.core.rebuild import Rebuilder
    from quarterdeck.core.rebuild.restore import Restored
    from quarterdeck.core.store import Store, StoreSettings

    logging.configure("console", "error", service="rebuild", service_id="")
    screen = Screen.of_process()

    def tell(restored: Restored) -> None:
        screen.note(f"{restored.events} events, {restored.commands} commands, {restored.batches} batches")

    bus = await Bus.connect(nats_url, name="quarterdeck-rebuild")
    store = Store(StoreSettings(url=redis_url))
    try:
        if not force and not await store.shut_shards():
            print("nothing to rebuild")
            return ExitCode.OK
        rebuilt = await Rebuilder(bus, store, SystemClock()).rebuild(force=force, on_progress=tell)
    finally:
        await store.close()
        await bus.close()
    if rebuilt is None:
        print("somebody else is rebuilding")
        return ExitCode.STILL_RUNNING
    restored = rebuilt.restored
    print(
        f"rebuilt {rebuilt.shards} shards from {restored.events} events in {rebuilt.took_s:.1f} s: "
        f"{restored.commands} commands, {restored.batches} batches, {rebuilt.children} children nobody had sent"
    )
    return ExitCode.OK
