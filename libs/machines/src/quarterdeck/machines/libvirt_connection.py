"""A connection to a libvirt daemon, for loops: its blocking calls run in threads of their own, one at a time.

Owns the import of the optional library `libvirt-python`, and what its failures mean. Called by discovery, and where
libvirt keeps a guest's monitor to itself.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

from quarterdeck.machines.errors import ConnectFailed, ProtocolUnavailable
from quarterdeck.machines.guest import ProtocolType

T = TypeVar("T")

MAX_ABANDONED: Final = 32
"""Calls to one daemon that nobody waits for any more and that have not returned: each holds a thread. While there are
so many, no connection is made, or whoever looks again and again at a daemon that hangs would have ever more of them."""

_abandoned: Counter[str] = Counter()
"""By the daemon's URI."""
_abandoned_lock: Final = threading.Lock()


class LibvirtConnection:
    """Made by `open`. A call whose caller left goes on, and the next waits for it: so it costs one thread."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._turn = asyncio.Lock()
        self._connection: Any = None

    @classmethod
    async def open(cls, uri: str, *, guest: str, protocol: ProtocolType) -> "LibvirtConnection":
        """`guest`, `protocol`: for errors. Raises ProtocolUnavailable without the library, ConnectFailed."""
        try:
            import libvirt
        except ImportError as error:
            text = "libvirt-python is not installed: quarterdeck-machines[libvirt]"
            raise ProtocolUnavailable(text, guest=guest, protocol=protocol) from error
        # Otherwise the library prints every failure to stderr, besides raising it.
        libvirt.registerErrorHandler(_ignore, None)
        if _abandoned[uri] >= MAX_ABANDONED:
            text = f"{uri}: {MAX_ABANDONED} calls before this one are still unanswered"
            raise ConnectFailed(text, guest=guest, protocol=protocol)
        self = cls(uri)
        try:
            self._connection = await self._in_thread(lambda: libvirt.open(uri))
        except libvirt.libvirtError as error:
            raise ConnectFailed(f"{uri}: {error}", guest=guest, protocol=protocol) from error
        return self

    async def run(self, call: Callable[[Any], T]) -> T:
        """What `call` returns, which is given the library's virConnect. Raises what it raises, such as libvirtError."""
        return await self._in_thread(lambda: call(self._connection))

    def close(self) -> None:
        """Any number of calls. Not waited for: a daemon that hangs would have us hang as well."""
        connection, self._connection = self._connection, None
        if connection is not None:
            threading.Thread(target=connection.close, name="libvirt-close", daemon=True).start()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        # Not to_thread: its threads are waited for when the program ends, and these may never return.
        await self._turn.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        is_abandoned = has_returned = False

        def settle(settler: Callable[[Any], None], outcome: object) -> None:
            self._turn.release()
            if not answer.done():
                settler(outcome)

        def run() -> None:
            nonlocal has_returned
            settler: Callable[[Any], None]
            outcome: object
            try:
                settler, outcome = answer.set_result, call()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
                settler, outcome = answer.set_exception, error
            with _abandoned_lock:
                has_returned = True
                _abandoned[self._uri] -= is_abandoned
            try:
                loop.call_soon_threadsafe(settle, settler, outcome)
            except RuntimeError:
                pass  # the loop is gone, and with it whoever waited

        threading.Thread(target=run, name="libvirt-call", daemon=True).start()
        try:
            return await answer
        except asyncio.CancelledError:
            with _abandoned_lock:
                is_abandoned = not has_returned
                _abandoned[self._uri] += is_abandoned
            raise


def _ignore(_context: object, _error: object) -> None:
    """An error handler that does nothing."""
