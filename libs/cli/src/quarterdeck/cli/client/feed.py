"""An event stream as one unbroken sequence: connect, read, reconnect with Last-Event-ID, end.

Owns resuming and when to give up. What the events mean is decided by watch.py. Source: WHATWG HTML §9.2
(server-sent events).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx
import httpx_sse
import msgspec

from quarterdeck.cli.client.rest import Rest, cause, problem
from quarterdeck.cli.client.retrying import FEED, RETRYABLE_STATUS, RetryPolicy, retry_after_s
from quarterdeck.cli.errors import WatchLost

END: Final = "end"
SNAPSHOT: Final = "snapshot"
RESYNC: Final = "resync"
OUTPUT: Final = "output"

_SILENCE_S: Final = 45.0
"""The server writes a comment every 15 s; three missed ones mean that the connection is dead."""


class FeedEvent(msgspec.Struct, frozen=True):
    kind: str
    """snapshot, command, output, batch, agent, resync or end."""
    content: dict[str, Any]


async def follow(
    rest: Rest, path: str, params: Mapping[str, Any] | None = None, policy: RetryPolicy = FEED
) -> AsyncIterator[FeedEvent]:
    """Every event of `path` once and in order, over as many connections as it takes; returns after `end`.

    Raises ApiProblem when the server refuses, WatchLost when it stays away for `policy.give_up_after_s`.
    """
    last_id: str | None = None
    attempt, well_s = 0, time.monotonic()
    while True:
        delay_s: float | None = None
        reason = "the server closed it"
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        try:
            async with httpx_sse.aconnect_sse(
                rest.http, "GET", path, params=params, headers=headers, timeout=_timeout()
            ) as source:
                if source.response.status_code == httpx.codes.NO_CONTENT:
                    return  # everything had been seen before the connection broke
                if not source.response.is_success:
                    await source.response.aread()
                    if source.response.status_code not in RETRYABLE_STATUS:
                        raise problem(source.response)
                    reason, delay_s = f"status {source.response.status_code}", retry_after_s(source.response)
                else:
                    async with aclosing(source.aiter_sse()) as events:
                        async for event in events:
                            attempt, well_s = 0, time.monotonic()
                            if not event.data:
                                continue  # a comment or a `retry:`; httpx-sse shows them as empty events
                            last_id = event.id or last_id
                            yield FeedEvent(event.event, msgspec.json.decode(event.data, type=dict[str, Any]))
                            if event.event == END:
                                return
        except httpx.TransportError as error:
            reason = cause(error)
        attempt += 1
        delay_s = policy.delay_s(attempt, rest.random) if delay_s is None else delay_s
        if time.monotonic() + delay_s - well_s > policy.give_up_after_s:
            raise WatchLost(path, last_id, reason)
        await asyncio.sleep(delay_s)


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(_SILENCE_S, connect=3.0)
