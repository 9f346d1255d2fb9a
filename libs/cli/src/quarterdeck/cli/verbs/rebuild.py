"""`qd rebuild`: the state in Redis, once more from the log of events. Talks to the brokers, not to the API.

Exit codes: 0 rebuilt, or nothing to rebuild; 1 a broker is away or the log is not there; 3 somebody else is rebuilding.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from cyclopts import Parameter

from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen


class Brokers(NamedTuple):
    nats_url: str
    redis_url: str


_REDIS_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_USUAL: Final = Brokers("nats://127.0.0.1:4222", "redis://127.0.0.1:6379/0")


def rebuild(
    *,
    nats_url: Annotated[str | None, Parameter(env_var="QD_NATS_URL")] = None,
    redis_url: Annotated[str | None, Parameter(env_var="QD_REDIS_URL")] = None,
    data_dir: Annotated[Path | None, Parameter(env_var="QD_DATA_DIR")] = None,
    force: bool = False,
) -> int:
    """Rebuild lost state from the log of events. Dispatchers do this by themselves; this is for when none runs.

    Parameters
    ----------
    nats_url
        Where the log is; as the services know it. Default: nats://127.0.0.1:4222.
    redis_url
        Where the state is; as the services know it. Default: redis://127.0.0.1:6379/0.
    data_dir
        Of a local `quarterdeck up`, which knows both. One that runs is taken when neither is given.
    force
        Drop what is there and rebuild all of it. Meanwhile everybody waits.
    """
    return asyncio.run(_rebuild(brokers(nats_url, redis_url, data_dir), force=force))


def brokers(nats_url: str | None, redis_url: str | None, data_dir: Path | None) -> Brokers:
    """Those given; with none given, those of the embedded system that runs here. Never one of each.

    Raises UsageError, DecodeError.
    """
    if not nats_url and not redis_url:
        from quarterdeck.embedded import ready_file
        from quarterdeck.embedded.layout import DataDir, default_data_dir

        local = ready_file.read(DataDir.at(data_dir or default_data_dir()).ready_file)
        return _USUAL if local is None else Brokers(local.nats, local.redis)
    given = Brokers(nats_url or _USUAL.nats_url, redis_url or _USUAL.redis_url)
    if not given.redis_url.startswith(_REDIS_SCHEMES):
        raise UsageError(f"{given.redis_url!r} is no address of Redis; write redis://host:port/0")
    return given


async def _rebuild(at: Brokers, *, force: bool) -> int:
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

    bus = await Bus.connect(at.nats_url, name="quarterdeck-rebuild")
    store = Store(StoreSettings(url=at.redis_url))
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
