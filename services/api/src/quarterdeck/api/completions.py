"""Waiting for an end without asking Redis again and again: `?wait=` on the GETs.

One reader of the feed per kind of end serves every waiter of this process. It runs while somebody waits, and a little
longer, so that a client which sends and waits in a loop does not make a consumer each time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from quarterdeck.contracts import subjects
from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, StoredMessage

log = structlog.get_logger()

T = TypeVar("T")

_LINGER_S: Final = 10.0
_PAUSE_S: Final = 0.5


class Completions:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._closing = False
        self._followers: dict[str, _Follower] = {}

    async def until(
        self,
        subject_id: str,
        kind: str,
        *,
        look: Callable[[], Awaitable[T]],
        ended: Callable[[T], bool],
        wait_s: float,
    ) -> T:
        """What `look` sees once it is `ended`, or after `wait_s`, or when the service stops.

        `kind`: the feed filter that the end comes on (subjects.ends_of_…). Raises what `look` raises.
        """
        seen = await look()
        if wait_s <= 0 or ended(seen):
            return seen
        follower = self._follower(kind)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        with follower.waiter(subject_id) as woken:
            # Looking only after the reader stands where it stands: an end in between is seen by one or the other.
            await follower.positioned(wait_s)
            while True:
                woken.clear()
                seen = await look()
                left_s = deadline_s - loop.time()
                if ended(seen) or left_s <= 0 or self._closing:
                    return seen
                await _set_within(woken, left_s)

    def release(self) -> None:
        """Everybody gets what is known now: the service stops."""
        self._closing = True
        for follower in self._followers.values():
            follower.wake_all()

    async def close(self) -> None:
        followers = tuple(self._followers.values())
        self._followers.clear()
        for follower in followers:
            await follower.close()

    def _follower(self, kind: str) -> "_Follower":
        follower = self._followers.get(kind)
        if follower is None:
            follower = self._followers[kind] = _Follower(self._bus, kind, lambda: self._drop(kind))
        return follower

    def _drop(self, kind: str) -> None:
        self._followers.pop(kind, None)


class _Waiter:
    """Context of one wait: an event that is set when its subject ended."""

    def __init__(self, follower: "_Follower", subject_id: str) -> None:
        self._follower = follower
        self._subject_id = subject_id
        self._woken = asyncio.Event()

    def __enter__(self) -> asyncio.Event:
        self._follower.add(self._subject_id, self._woken)
        return self._woken

    def __exit__(self, *_: object) -> None:
        self._follower.remove(self._subject_id, self._woken)


class _Follower:
    """Reads one filter of the feed from now on and wakes who waits for what ends."""

    def __init__(self, bus: Bus, kind: str, on_idle: Callable[[], None]) -> None:
        self._bus = bus
        self._kind = kind
        self._on_idle = on_idle
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._positioned = asyncio.Event()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run(), name=f"completions-{kind}")

    def waiter(self, subject_id: str) -> _Waiter:
        return _Waiter(self, subject_id)

    def add(self, subject_id: str, woken: asyncio.Event) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self._waiters[subject_id].add(woken)

    def remove(self, subject_id: str, woken: asyncio.Event) -> None:
        waiting = self._waiters[subject_id]
        waiting.discard(woken)
        if not waiting:
            del self._waiters[subject_id]
        if not self._waiters:
            self._idle_timer = asyncio.get_running_loop().call_later(_LINGER_S, self._end)

    async def positioned(self, timeout_s: float) -> None:
        """Returns when what ends from now on will be seen, or after `timeout_s`."""
        await _set_within(self._positioned, timeout_s)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def _end(self) -> None:
        self._on_idle()
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                facts = await self._bus.stream_info(FEED)
                self._positioned.set()
                self.wake_all()  # what ended while nobody read is found by looking again
                reading = self._bus.read(
                    FEED, [self._kind], start_sequence=facts.last_sequence + 1, follow=True
                )
                async for messages in reading:
                    self._wake(messages)
            except QuarterdeckError as error:
                log.warning("api.completions_interrupted", reason=error.message)
                self._positioned.clear()
                await asyncio.sleep(_PAUSE_S)

    def _wake(self, messages: list[StoredMessage]) -> None:
        for message in messages:
            subject = subjects.parse_event(message.subject)
            for woken in self._waiters.get(subject.command_id or subject.batch_id or "", ()):
                woken.set()

    def wake_all(self) -> None:
        for waiting in self._waiters.values():
            for woken in waiting:
                woken.set()


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    """Until `event` is set or `timeout_s` passed, whichever comes first."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass  # the caller looks at the time itself
