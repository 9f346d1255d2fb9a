"""The Unix socket between executor and front: sessions, back-pressure, strangers, long paths."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from quarterdeck.agent.errors import ExecutorLost
from quarterdeck.agent.executor_client import RemoteExecutor, RemoteSession
from quarterdeck.agent.executor_server import ExecutorServer
from quarterdeck.agent.executor_socket import SOCKET_NAME, connect, listen
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.limits import MAX_FRAME_BYTES

PATIENCE_S = 20.0

Join = Callable[[], Awaitable[RemoteSession]]


class StubExecutor:
    """Echoes what a front says, and refuses `bad`. `produced`: how many frames it was asked for."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.produced = 0
        self.endless: bytes | None = None
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, frame: bytes) -> None:
        if frame == b"bad":
            raise DecodeError("no frame")
        self.heard.append(frame)
        self._waiting.put_nowait(b"heard " + frame)

    async def receive(self) -> bytes:
        self.produced += 1
        if self.endless is not None:
            await asyncio.sleep(0)
            return self.endless
        return await self._waiting.get()


@pytest.fixture
def executor() -> StubExecutor:
    return StubExecutor()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Far longer than the 107 bytes that a socket's address holds."""
    return tmp_path / ("long" * 30) / ("longer" * 20) / "run"


@pytest.fixture
async def server(executor: StubExecutor, run_dir: Path) -> AsyncIterator[ExecutorServer]:
    server = ExecutorServer(executor, run_dir)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def join(run_dir: Path) -> AsyncIterator[Join]:
    """Opens sessions, and closes them in the end."""
    sessions: list[RemoteSession] = []

    async def open_session() -> RemoteSession:
        async with asyncio.timeout(PATIENCE_S):
            sessions.append(await RemoteExecutor(run_dir)())
        return sessions[-1]

    yield open_session
    for session in sessions:
        await session.close()


async def heard(session: RemoteSession) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await session.receive()


async def test_frames_cross_in_order_both_ways(server: ExecutorServer, join: Join) -> None:
    """Any size up to a frame's limit; and the path may be as long as it likes."""
    front = await join()
    frames = [b"challenge", b"x" * 700_000, b"last"]

    for frame in frames:
        await front.send(frame)

    assert [await heard(front) for _ in frames] == [b"heard " + frame for frame in frames]
    assert server.linked


async def test_newer_session_ends_the_one_before_and_hears_nothing_of_it(
    server: ExecutorServer, executor: StubExecutor, join: Join
) -> None:
    """I4: what was said on one link never reaches the next."""
    first = await join()
    await first.send(b"challenge 1")
    assert await heard(first) == b"heard challenge 1"

    second = await join()
    with pytest.raises(ExecutorLost):
        await heard(first)
    await second.send(b"challenge 2")

    assert await heard(second) == b"heard challenge 2"


async def test_executor_is_asked_for_nothing_before_the_front_spoke(
    server: ExecutorServer, executor: StubExecutor, join: Join
) -> None:
    """A frame taken before the Challenge would belong to a link that is gone."""
    front = await join()
    probe = await join()  # accepted after `front` was served
    assert executor.produced == 0

    await probe.send(b"challenge")
    await heard(probe)

    assert executor.produced > 0
    await front.close()


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\3bad"])
async def test_garbage_ends_its_connection_and_nothing_else(
    server: ExecutorServer, run_dir: Path, join: Join, garbage: bytes
) -> None:
    stranger = connect(run_dir)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(stranger, garbage)
    async with asyncio.timeout(PATIENCE_S):
        assert await loop.sock_recv(stranger, 1) == b""
    stranger.close()

    front = await join()
    await front.send(b"challenge")

    assert await heard(front) == b"heard challenge"


async def test_executor_that_cannot_speak_ends_the_session(
    server: ExecutorServer, executor: StubExecutor, join: Join
) -> None:
    """S4-33: a front whose heartbeats go on would keep up a link that nobody answers on."""
    session = await join()

    executor.endless = bytes(MAX_FRAME_BYTES + 1)
    await session.send(b"one")
    with pytest.raises(ExecutorLost):
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await session.receive()


async def test_front_that_stops_reading_holds_the_executor_back(
    server: ExecutorServer, executor: StubExecutor, run_dir: Path
) -> None:
    """I9: what waits for a front is bounded by the buffers between the two."""
    executor.endless = b"o" * 65_536
    front = connect(run_dir)
    await asyncio.get_running_loop().sock_sendall(front, b"\0\0\0\1c")

    produced = -1
    while executor.produced != produced or not produced:  # until it stands still
        produced = executor.produced
        for _ in range(1000):
            await asyncio.sleep(0)

    assert 0 < produced * 65_536 < 4_000_000
    front.close()


async def test_front_waits_for_an_executor_that_is_not_there_yet(
    executor: StubExecutor, run_dir: Path, join: Join
) -> None:
    joining = asyncio.ensure_future(join())
    await asyncio.sleep(0)
    server = ExecutorServer(executor, run_dir)
    await server.start()

    async with asyncio.timeout(PATIENCE_S):
        front = await joining
    await front.send(b"challenge")

    assert await heard(front) == b"heard challenge"
    await server.close()
    with pytest.raises(ExecutorLost):
        await heard(front)


async def test_socket_of_a_killed_executor_is_replaced(
    executor: StubExecutor, run_dir: Path, join: Join
) -> None:
    listen(run_dir).close()  # its file stays, as after a SIGKILL
    server = ExecutorServer(executor, run_dir)
    await server.start()

    front = await join()
    await front.send(b"challenge")

    assert await heard(front) == b"heard challenge"
    assert [entry.name for entry in run_dir.iterdir()] == [SOCKET_NAME]
    await server.close()


def test_only_its_user_may_connect(run_dir: Path) -> None:
    listener = listen(run_dir)

    assert (run_dir.stat().st_mode & 0o777, (run_dir / SOCKET_NAME).stat().st_mode & 0o777) == (0o700, 0o600)
    listener.close()


async def test_stranger_is_refused_by_what_the_kernel_says_of_it(
    server: ExecutorServer, executor: StubExecutor, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions keep others out; should somebody widen them, SO_PEERCRED still does."""
    monkeypatch.setattr("quarterdeck.agent.executor_server.peer_uid", lambda _: os.geteuid() + 4321)
    stranger: socket.socket = connect(run_dir)

    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.get_running_loop().sock_recv(stranger, 1) == b""
    stranger.close()
    assert executor.heard == []
