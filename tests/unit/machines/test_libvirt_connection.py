"""How blocking calls are kept off the loop. What is called is a function here; a real libvirt is elsewhere."""

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from quarterdeck.machines.errors import ConnectFailed
from quarterdeck.machines.guest import ProtocolType
from quarterdeck.machines.libvirt_connection import MAX_ABANDONED, LibvirtConnection
from quarterdeck.testing.eventually import eventually

PATIENCE_S = 60


async def test_a_call_runs_beside_the_loop() -> None:
    """S2-11"""
    connection = LibvirtConnection("test:///default")
    loop_thread = threading.get_ident()
    may_end = threading.Event()

    def call(_: Any) -> int:
        assert may_end.wait(PATIENCE_S)
        return threading.get_ident()

    running = asyncio.create_task(connection.run(call))
    await asyncio.sleep(0)
    may_end.set()

    assert await running != loop_thread


async def test_what_a_call_raises_is_raised() -> None:
    """S2-11, S2-25F"""

    def call(_: Any) -> None:
        raise LookupError("no such domain")

    with pytest.raises(LookupError, match="no such domain"):
        await LibvirtConnection("test:///default").run(call)


async def test_a_call_whose_caller_left_costs_one_thread_and_holds_back_the_next() -> None:
    """S2-6, S2-25F"""
    connection = LibvirtConnection("test:///default")
    began, may_end = threading.Event(), threading.Event()

    def hang(_: Any) -> str:
        began.set()
        assert may_end.wait(PATIENCE_S)
        return "for whoever left"

    leaver = asyncio.create_task(connection.run(hang))
    assert await asyncio.to_thread(began.wait, PATIENCE_S)
    leaver.cancel()
    await asyncio.wait({leaver})
    others = [asyncio.create_task(connection.run(lambda _, n=n: n)) for n in range(3)]  # type: ignore[misc]
    await asyncio.sleep(0)
    assert sum(thread.name == "libvirt-call" for thread in threading.enumerate()) == 1

    may_end.set()

    assert await asyncio.gather(*others) == [0, 1, 2]


async def test_a_daemon_that_hangs_costs_a_bounded_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """S2-11, S2-25F: whoever looks for guests comes back every few seconds, for as long as it hangs."""
    began, may_end = threading.Semaphore(0), threading.Event()

    def hang(_uri: str) -> SimpleNamespace:
        began.release()
        assert may_end.wait(PATIENCE_S)
        return SimpleNamespace(close=lambda: None)

    library = SimpleNamespace(open=hang, registerErrorHandler=lambda *_: None, libvirtError=OSError)
    monkeypatch.setitem(sys.modules, "libvirt", library)

    async def connect() -> LibvirtConnection:
        return await LibvirtConnection.open("qemu:///hangs", guest="vm1", protocol=ProtocolType.QMP)

    for _ in range(MAX_ABANDONED):
        leaver = asyncio.create_task(connect())
        assert await asyncio.to_thread(began.acquire, True, PATIENCE_S)
        leaver.cancel()
        await asyncio.wait({leaver})

    with pytest.raises(ConnectFailed, match="still unanswered"):
        await connect()

    may_end.set()

    async def answers() -> bool:
        try:
            (await connect()).close()
        except ConnectFailed:
            return False
        return True

    await eventually(answers)


def test_a_call_that_outlives_its_loop_ends_in_silence() -> None:
    """S2-25F"""
    connection = LibvirtConnection("test:///default")
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def hang(_: Any) -> None:
        began.set()
        assert may_end.wait(PATIENCE_S)
        ended.set()

    async def leave() -> None:
        task = asyncio.create_task(connection.run(hang))
        await asyncio.to_thread(began.wait, PATIENCE_S)
        task.cancel()

    asyncio.run(leave())
    may_end.set()

    assert ended.wait(PATIENCE_S)
