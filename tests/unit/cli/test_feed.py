"""Resuming an event stream, against a real socket that cuts it wherever it likes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from quarterdeck.cli.client import feed
from quarterdeck.cli.client.rest import Rest
from quarterdeck.cli.client.retrying import RetryPolicy
from quarterdeck.cli.errors import ApiProblem, WatchLost

QUICK = RetryPolicy(first_s=0.0005, cap_s=0.001, give_up_after_s=5)

Handler = Callable[[dict[str, str], asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def _server(handler: Handler) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        try:
            await handler(headers, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _event(number: int, kind: str = "output") -> bytes:
    return f'id: 7-{number}\nevent: {kind}\ndata: {{"n": {number}}}\n\n'.encode()


async def _numbers(url: str, policy: RetryPolicy = QUICK) -> list[int]:
    async with Rest(url, "token") as rest:
        return [event.content["n"] async for event in feed.follow(rest, "/events", policy=policy)]


@pytest.mark.parametrize("seed", range(10))
async def test_stream_cut_at_random_bytes_arrives_whole_and_once(seed: int) -> None:
    """S4-22: a watcher that resumes sees exactly the events after the last one it saw."""
    chance = random.Random(seed)
    last = 60

    async def handler(headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        after = int(headers.get("last-event-id", "7-0").partition("-")[2])
        whole = b"retry: 1\n\n: hello\n\n" + b"".join(
            _event(n, "end" if n == last else "output") for n in range(after + 1, last + 1)
        )
        writer.write(HEAD + whole[: chance.randrange(len(whole) + 200)])
        await writer.drain()

    async with _server(handler) as url:
        assert await _numbers(url) == list(range(1, last + 1))


async def test_server_that_is_busy_for_a_while_is_asked_again() -> None:
    """503 with Retry-After is no end."""
    answers = iter(
        [b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", HEAD + _event(1, "end")]
    )

    async def handler(headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with _server(handler) as url:
        assert await _numbers(url) == [1]


async def test_stream_that_ended_while_we_were_away_is_over() -> None:
    """204 after a reconnect: everything had been seen."""
    answers = iter([HEAD + _event(1), b"HTTP/1.1 204 No Content\r\n\r\n"])

    async def handler(headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))

    async with _server(handler) as url:
        assert await _numbers(url) == [1]


async def test_refusal_is_the_servers_own_error_and_not_retried() -> None:
    """A wrong token stays wrong."""
    body = b'{"code": "not_authenticated", "detail": "who are you"}'
    asked = []

    async def handler(headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        asked.append(headers["authorization"])
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with _server(handler) as url:
        with pytest.raises(ApiProblem) as caught:
            await _numbers(url)

    assert (caught.value.status, caught.value.api_code) == (401, "not_authenticated")
    assert asked == ["bearer token"]


async def test_server_that_stays_away_is_given_up_with_the_place_to_resume() -> None:
    """The error says from where to go on."""
    answers = iter([HEAD + _event(4)])

    async def handler(headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers, b""))

    async with _server(handler) as url:
        with pytest.raises(WatchLost) as caught:
            await _numbers(url, RetryPolicy(first_s=0.0005, cap_s=0.001, give_up_after_s=0.02))

    assert caught.value.last_event_id == "7-4"
