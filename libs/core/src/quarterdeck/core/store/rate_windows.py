"""Windows of rate limits in our Redis, as the library `limits` wants to have them kept.

Owns the way to Redis: the library's own scripts, in the same shared round trips as everything else that the process
asks of it. What is limited, and how much, is the caller's (api/rate_limits.py). Imported by nobody else: the library
takes a third of a second to load.
"""

import hashlib
from typing import Any, Final

from limits.aio.storage import SlidingWindowCounterSupport, Storage
from limits.util import get_package_data
from redis.exceptions import NoScriptError

from quarterdeck.contracts.errors import Unavailable
from quarterdeck.core.store import keys
from quarterdeck.core.store.connection import ScriptRunner

_SCRIPTS: Final = "resources/redis/lua_scripts"


class _Script:
    def __init__(self, name: str) -> None:
        self.text = get_package_data(f"{_SCRIPTS}/{name}.lua").decode()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RateWindows(Storage, SlidingWindowCounterSupport):
    """Keys are limits' own, in our namespace. Every method raises Unavailable. Windows are in seconds."""

    STORAGE_SCHEME = None

    def __init__(self, runner: ScriptRunner) -> None:
        super().__init__()
        self._runner = runner
        self._acquire = _Script("acquire_sliding_window")
        self._look = _Script("sliding_window")
        self._increase = _Script("incr_expire")

    @property
    def base_exceptions(self) -> type[Exception]:
        return Unavailable

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return bool(await self._run(self._acquire, _windows(key), (limit, expiry, amount)))

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        before, before_ms, current, current_ms = await self._run(self._look, _windows(key), (expiry,))
        return int(before or 0), max(0, before_ms) / 1000, int(current or 0), max(0, current_ms) / 1000

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        await self._runner.plain([("DEL", *_windows(key))])

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return int(await self._run(self._increase, _windows(key)[1:], (expiry, amount)))

    async def get(self, key: str) -> int:
        return int((await self._runner.plain([("GET", _windows(key)[1])]))[0] or 0)

    async def get_expiry(self, key: str) -> float:
        left_ms = int((await self._runner.plain([("PTTL", _windows(key)[1])]))[0])
        return (max(0, left_ms) + await self._runner.now_ms()) / 1000

    async def check(self) -> bool:
        return bool((await self._runner.plain([("PING",)]))[0])

    async def reset(self) -> int | None:
        raise NotImplementedError  # all windows of all principals at once: nobody wants that

    async def clear(self, key: str) -> None:
        await self._runner.plain([("DEL", _windows(key)[1])])

    async def _run(self, script: _Script, names: tuple[str, ...], words: tuple[int, ...]) -> Any:
        call = ("EVALSHA", script.sha, len(names), *names, *words)
        try:
            return (await self._runner.plain([call]))[0]
        except NoScriptError:
            await self._runner.plain([("SCRIPT LOAD", script.text)])
            return (await self._runner.plain([call]))[0]


def _windows(key: str) -> tuple[str, str]:
    """The window before, and the current one."""
    return keys.rate_window(key, "before"), keys.rate_window(key, "now")
