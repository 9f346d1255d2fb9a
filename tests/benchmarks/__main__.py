"""`just bench`: starts the system, runs the jobs one after the other, shows a table, writes a JSON file.

    python -m tests.benchmarks [--only JOB]... [--json PATH] [--system READY_FILE]

Exits 0 when everything was measured, whether or not targets were met: figures depend on the machine.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console

from quarterdeck.core.logging import configure
from quarterdeck.embedded.main import environment
from tests.benchmarks.companion import ROOT
from tests.benchmarks.jobs import batches, fanout, footprint, output, processes, single_commands, stalled
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.report import print_table, write_json
from tests.benchmarks.system import System, running_system, start_system

Job = Callable[[System], Awaitable[Measurement]]

JOBS: Final[dict[str, Job]] = {
    "footprint": footprint.measure,  # first: it wants services that have done nothing yet
    "single_commands": single_commands.measure,
    "batch_100": batches.measure_small,
    "processes": processes.measure,
    "output": output.measure,
    "fanout": fanout.measure,
    "stalled": stalled.measure,
    "batch_10000": batches.measure_large,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Quarterdeck beside the raw limits of its hops."
    )
    parser.add_argument(
        "--only", action="append", choices=JOBS, metavar="JOB", help=f"one of {', '.join(JOBS)}; repeatable"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", metavar="PATH")
    parser.add_argument(
        "--system",
        type=Path,
        metavar="READY_FILE",
        help="measure one that runs already, started with --agents 2",
    )
    arguments = parser.parse_args()
    configure("console", "error", service="bench", service_id="bench")
    os.environ.setdefault(
        "GRPC_VERBOSITY", "ERROR"
    )  # raw servers end in the middle of things, and gRPC tells
    uvloop.run(_run(arguments.only or list(JOBS), arguments.json, arguments.system))


async def _run(names: list[str], json_path: Path, ready_path: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    machine, began_s = describe_machine(), time.monotonic()
    measurements: list[Measurement] = []
    async with _system(ready_path) as system:
        for name in names:
            with console.status(f"measuring {name} …"):
                job_began_s = time.monotonic()
                measurements.append(await JOBS[name](system))
            console.print(f"{name}: {time.monotonic() - job_began_s:.0f} s", style="dim", highlight=False)
    took_s = time.monotonic() - began_s
    print_table(console, machine, measurements)
    write_json(json_path, machine, measurements, took_s)
    console.print(f"{took_s:.0f} s in all; details in {json_path}", highlight=False)


@asynccontextmanager
async def _system(ready_path: Path | None) -> AsyncIterator[System]:
    if ready_path is not None:
        yield running_system(ready_path)
        return
    with tempfile.TemporaryDirectory(prefix="quarterdeck-bench-") as directory:
        async with start_system(Path(directory), environment()) as system:
            yield system


if __name__ == "__main__":
    main()
