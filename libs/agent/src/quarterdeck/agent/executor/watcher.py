"""Watches many short-lived descriptors for the event loop: one epoll of our own, seen by the loop as one descriptor.

A command has three descriptors (two pipes and a pidfd) and may live for a millisecond. The loop's own add_reader and
remove_reader cost about 15 µs each in Python; here they are one system call. Source: epoll(7).
"""

import asyncio
import select
from collections.abc import Callable
from typing import Final

_EVENTS_PER_TURN: Final = 256
"""Then the loop gets its turn; what is left stays readable."""


class Watcher:
    """Calls back whenever a descriptor is readable or hung up."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Level-triggered: called again and again until it was read or `forget` was called."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._callbacks[descriptor] = callback

    def forget(self, descriptor: int) -> None:
        """Before the descriptor is closed."""
        del self._callbacks[descriptor]
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._callbacks.clear()

    def _turn(self) -> None:
        for descriptor, _ in self._epoll.poll(0, _EVENTS_PER_TURN):
            # A callback of this very turn may have forgotten it.
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback()
