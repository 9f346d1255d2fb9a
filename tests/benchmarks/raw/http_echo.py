"""Raw hop: a Litestar route that answers a POST with a part of it. Run as a companion; asked by `posts_per_s`."""

import asyncio
import time
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, post

from tests.benchmarks.client.http import Endpoint, HttpPool
from tests.benchmarks.companion import Benchmark, Companion, run_companion
from tests.benchmarks.raw.asgi_server import serve_while_wanted

_BODY: Final = msgspec.json.encode(
    {"client_id": "sim-0", "command_type": "noop", "payload": {}, "timeout": 30, "priority": 5}
)


class _Submitted(msgspec.Struct):
    client_id: str
    command_type: str
    payload: msgspec.Raw


_decode = msgspec.json.Decoder(_Submitted).decode


@post("/echo")
async def _echo(request: Request[Any, Any, Any]) -> dict[str, object]:
    submitted = _decode(await request.body())
    return {"success": True, "command_id": submitted.client_id, "message": "Command sent successfully"}


async def posts_per_s(*, connections: int = 64, count: int = 20_000) -> float:
    """Requests per second over so many keep-alive connections."""
    async with await Companion.start(__name__) as companion:
        endpoint = Endpoint("127.0.0.1", (await companion.hear())["port"], "none")
        pool = await HttpPool.open(endpoint, connections)
        head = endpoint.head("POST", "/echo", "Content-Type: application/json")

        async def post_share() -> None:
            for _ in range(count // connections):
                await pool.send(head, _BODY)

        began_s = time.perf_counter()
        await asyncio.gather(*(post_share() for _ in range(connections)))
        per_s = (count // connections) * connections / (time.perf_counter() - began_s)
        pool.close()
    return per_s


async def post_round_trip_ms(body: bytes, count: int = 200) -> list[float]:
    """One request after the other, with a body of this size."""
    async with await Companion.start(__name__) as companion:
        endpoint = Endpoint("127.0.0.1", (await companion.hear())["port"], "none")
        pool = await HttpPool.open(endpoint, 1)
        head = endpoint.head("POST", "/echo", "Content-Type: application/json")
        round_trips_ms = []
        for _ in range(count):
            began_s = time.perf_counter()
            await pool.send(head, body)
            round_trips_ms.append((time.perf_counter() - began_s) * 1000)
        pool.close()
    return round_trips_ms


async def main(benchmark: Benchmark) -> None:
    await serve_while_wanted(Litestar([_echo], openapi_config=None), benchmark)


if __name__ == "__main__":
    run_companion(main)
