"""An executor that looks after guests, and a gateway's side to talk to it. For the tests of this directory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.agent.settings import ExecutorSettings
from tests.unit.agent.conversation import Conversation

GUEST = "vm1"


def executor_settings(
    data_dir: Path, sockets_of: Path, *protocols: str, timeout_s: float = 10
) -> ExecutorSettings:
    """The sockets in `sockets_of` are those of GUEST; only those of `protocols` are looked for."""
    named = data_dir / "vms" / GUEST
    named.parent.mkdir(parents=True, exist_ok=True)
    if not named.exists():
        named.symlink_to(sockets_of)
    return ExecutorSettings(
        scratch_dir=data_dir / "scratch",
        journal_dir=data_dir / "journal",
        spool_dir=data_dir / "spool",
        environment={"PATH": "/usr/bin:/bin"},
        guests=GuestSettings(
            sockets=tuple(f"{protocol}={data_dir}/vms/{{guest}}/{protocol}.sock" for protocol in protocols),
            look_interval_s=0.05,
            timeout_s=timeout_s,
        ),
    )


@asynccontextmanager
async def agent_that_never_answers(path: Path) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """At `path`, which must be short. Yields the connections that were made to it."""
    connections: list[asyncio.StreamWriter] = []

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    server = await asyncio.start_unix_server(listen, path)
    try:
        yield connections
    finally:
        server.close()


@asynccontextmanager
async def hypervisor(settings: ExecutorSettings) -> AsyncIterator[Conversation]:
    """An executor with these settings, with an open link."""
    executor = Executor(settings)
    await executor.start()
    link = Conversation(executor)
    await link.open()
    try:
        yield link
    finally:
        await link.cut()
        await executor.stop(grace_s=0.5)
