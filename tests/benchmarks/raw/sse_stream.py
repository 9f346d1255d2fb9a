"""Raw hop: one event to many watchers over Litestar's Stream, coalesced: whatever waits for a watcher is one write.

No feed, no ids, no resume, no bound on what waits: what HTTP alone allows. Run as a companion; told
`{"events": n, "bytes": m, "burst": k}`, it sends n events of m bytes to all who watch, k per turn of the loop, and
ends.
"""

import asyncio
from collections.abc import AsyncIterator

from litestar import Litestar, get
from litestar.response import Stream

from tests.benchmarks.companion import Benchmark, run_companion
from tests.benchmarks.raw.asgi_server import serve_while_wanted


class _Watcher:
    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, event: bytes) -> None:
        self._waiting.append(event)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def stream(self) -> AsyncIterator[bytes]:
        while self._waiting or not self._ended:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            waiting, self._waiting = self._waiting, []
            if waiting:
                yield b"".join(waiting)


_watchers: list[_Watcher] = []


@get("/events")
async def _events() -> Stream:
    watcher = _Watcher()
    _watchers.append(watcher)
    return Stream(watcher.stream(), media_type="text/event-stream")


async def _send(events: int, size_bytes: int, burst: int) -> None:
    frame = b"id: 0-0\nevent: output\ndata: "
    event = frame + b"." * (size_bytes - len(frame) - 2) + b"\n\n"
    for number in range(events):
        for watcher in _watchers:
            watcher.put(event)
        if number % burst == burst - 1:
            await asyncio.sleep(0)
    for watcher in _watchers:
        watcher.end()


async def main(benchmark: Benchmark) -> None:
    async def on_wish(wish: dict[str, int]) -> None:
        await _send(wish["events"], wish["bytes"], wish["burst"])

    await serve_while_wanted(Litestar([_events], openapi_config=None), benchmark, on_wish)


if __name__ == "__main__":
    run_companion(main)
