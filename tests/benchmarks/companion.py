"""A Python process beside the benchmark: a raw server, a fleet, a crowd of watchers, so that loads do not share a loop.

The two talk in lines of JSON: the companion speaks on its standard output, the benchmark on its standard input; when
that ends, the companion leaves. Companions are the modules of `companions/` and of `raw/`.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

ROOT: Final = Path(__file__).resolve().parents[2]
_LEAVE_TIMEOUT_S: Final = 10.0
_LINE_LIMIT_BYTES: Final = 16 * 1024 * 1024


class CompanionEnded(Exception):
    """It ended, or crashed, while something was expected of it. Its traceback is on our standard error."""


class Companion:
    """Context manager: `async with await Companion.start("tests.benchmarks.raw.…") as companion`."""

    def __init__(self, process: asyncio.subprocess.Process, module: str) -> None:
        self._process = process
        self._module = module

    @classmethod
    async def start(cls, module: str, *arguments: str) -> "Companion":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments,
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_LIMIT_BYTES,
        )  # fmt: skip
        return cls(process, module)

    async def __aenter__(self) -> "Companion":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hear(self, timeout_s: float = 60.0) -> Any:
        """What it says next. Raises CompanionEnded, TimeoutError."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self._process.stdout.readline()
        if not line:
            raise CompanionEnded(f"{self._module} ended with {await self._process.wait()}")
        return msgspec.json.decode(line)

    async def tell(self, message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        await self._process.stdin.drain()

    async def ask(self, message: Any, timeout_s: float = 60.0) -> Any:
        """`tell`, then `hear`."""
        await self.tell(message)
        return await self.hear(timeout_s)

    async def stop(self) -> None:
        if self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


# ---- The companion's side ----


class Benchmark:
    """The process that started us, seen from a companion."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines

    async def hear(self) -> Any:
        """What it wants next; None: it wants us to leave."""
        line = await self._lines.readline()
        return msgspec.json.decode(line) if line else None

    def tell(self, message: Any) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()


def run_companion(main: Callable[[Benchmark], Awaitable[None]], *, on_uvloop: bool = True) -> None:
    """Entry of a companion module: `main` until it returns."""

    async def run() -> None:
        lines = asyncio.StreamReader(limit=_LINE_LIMIT_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
        )
        await main(Benchmark(lines))

    (uvloop.run if on_uvloop else asyncio.run)(run())
