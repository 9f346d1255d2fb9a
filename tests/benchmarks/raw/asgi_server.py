"""Serves a Litestar application of a companion with uvicorn, as the product's services are served."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
from litestar import Litestar

from tests.benchmarks.companion import Benchmark

_BACKLOG: Final = 2048


async def serve_while_wanted(
    application: Litestar, benchmark: Benchmark, on_wish: Callable[[Any], Awaitable[None]] | None = None
) -> None:
    """Says `{"port": n}` once connections are taken; ends when the benchmark wants us to leave.

    `on_wish` gets whatever else the benchmark says.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    config = uvicorn.Config(
        application, log_level="error", access_log=False, lifespan="off", http="httptools", loop="none"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    benchmark.tell({"port": listener.getsockname()[1]})
    while (wish := await benchmark.hear()) is not None:
        if on_wish is not None:
            await on_wish(wish)
    server.should_exit = server.force_exit = True
    await serving
