"""Which answers deserve another try, and how long to wait before it.

Owns numbers and the reading of Retry-After; sleeps nowhere. Called by rest.py and feed.py.
"""

import random
from typing import Final

import httpx
import msgspec

RETRYABLE_STATUS: Final = frozenset({429, 502, 503, 504})
"""The server, or a proxy before it, says that the request was not refused for what it is."""

_MAX_RETRY_AFTER_S: Final = 30.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Full jitter, doubling, capped. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015."""

    first_s: float = 0.1
    cap_s: float = 3.0
    give_up_after_s: float = 15.0
    """Since the last time that the server answered well."""
    connect_for_s: float = 3.0
    """While nobody listens: as long as a service needs to start again."""

    def delay_s(self, attempt: int, random_source: random.Random) -> float:
        """`attempt`: failures in a row, from 1."""
        return float(random_source.uniform(0, min(self.cap_s, self.first_s * 2**attempt)))


REQUESTS: Final = RetryPolicy()
FEED: Final = RetryPolicy(cap_s=5.0, give_up_after_s=120.0)
"""Watching survives a restart of the whole system."""


def retry_after_s(response: httpx.Response) -> float | None:
    """What the server asked for, in seconds; None when it asked for nothing that we understand."""
    text = response.headers.get("retry-after", "")
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isdigit() else None
