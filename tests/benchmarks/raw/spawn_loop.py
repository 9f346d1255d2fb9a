"""Raw hop: running `echo` as fast as this machine can from Python: Popen, pidfd, both pipes read, uvloop."""

import asyncio
import os
import subprocess
import time
from typing import Final

_ARGV: Final = ("/bin/echo", "hello")


async def processes_per_s(*, in_flight: int = 32, count: int = 3000) -> float:
    """Processes per second, so many at a time, each seen to its end and its output read."""
    loop = asyncio.get_running_loop()

    async def run_one() -> None:
        process = subprocess.Popen(  # noqa: ASYNC220 - this is the loop that is measured
            _ARGV,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        ended = loop.create_future()
        pidfd = os.pidfd_open(process.pid)
        loop.add_reader(pidfd, ended.set_result, None)
        await ended
        loop.remove_reader(pidfd)
        os.close(pidfd)
        process.communicate()

    async def run_share() -> None:
        for _ in range(count // in_flight):
            await run_one()

    began_s = time.perf_counter()
    await asyncio.gather(*(run_share() for _ in range(in_flight)))
    return (count // in_flight) * in_flight / (time.perf_counter() - began_s)
