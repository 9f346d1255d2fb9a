"""Raw hop: publishing into JetStream (file storage) with nats-py, as its documentation shows."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nats
from nats.js import JetStreamContext

_STREAM: Final = "BENCH_RAW"
_SUBJECT: Final = "bench.raw"
_BODY: Final = b"x" * 200


@asynccontextmanager
async def scratch_stream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    """A stream of our own on the server that the product uses; gone afterwards."""
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    await jetstream.add_stream(name=_STREAM, subjects=[f"{_SUBJECT}.>", _SUBJECT])
    try:
        yield jetstream
    finally:
        await jetstream.delete_stream(_STREAM)
        await client.close()


async def sequential_round_trips_ms(nats_url: str, count: int = 2000) -> list[float]:
    """One `js.publish` after the other."""
    round_trips_ms = []
    async with scratch_stream(nats_url) as jetstream:
        for _ in range(count):
            began_s = time.perf_counter()
            await jetstream.publish(_SUBJECT, _BODY)
            round_trips_ms.append((time.perf_counter() - began_s) * 1000)
    return round_trips_ms


async def publishes_per_s(nats_url: str, *, in_flight: int = 100, count: int = 30_000) -> float:
    """`in_flight` tasks, each publishing one message after the other."""
    async with scratch_stream(nats_url) as jetstream:

        async def publish_share() -> None:
            for _ in range(count // in_flight):
                await jetstream.publish(_SUBJECT, _BODY)

        began_s = time.perf_counter()
        await asyncio.gather(*(publish_share() for _ in range(in_flight)))
        return count / (time.perf_counter() - began_s)


async def burst_s(nats_url: str, bodies: list[bytes]) -> float:
    """Seconds until all of one burst are acknowledged."""
    async with scratch_stream(nats_url) as jetstream:
        began_s = time.perf_counter()
        pending = [await jetstream.publish_async(_SUBJECT, body) for body in bodies]
        await asyncio.gather(*pending)
        return time.perf_counter() - began_s
