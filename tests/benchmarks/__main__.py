"""`just bench`: starts the system, runs the jobs one after the other, shows a table, writes a JSON file.

    python -m tests.benchmarks [--only JOB]... [--json PATH] [--system READY_FILE]

Exits 0 when every job was measured, whether or not targets were met (figures depend on the machine), 1 when one failed.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from rich.console import Console

from quarterdeck.core.logging import configure
from quarterdeck.embedded.main import environment
from tests.benchmarks.companion import ROOT
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.report import print_table, write_json
from tests.benchmarks.system import Job, System, running_system, start_system


def main() -> int:
    # Before gRPC is imported: raw servers end in the middle of things, and it would tell.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from tests.benchmarks.jobs import JOBS

    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Quarterdeck beside the raw limits of its hops."
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=JOBS,
        metavar="JOB",
        help=f"one of {', '.join(JOBS)}; repeatable",
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
    jobs = {name: JOBS[name] for name in JOBS if name in (arguments.only or JOBS)}
    return uvloop.run(_run(jobs, arguments.json, arguments.system))


async def _run(jobs: dict[str, Job], json_path: Path, ready_path: Path | None) -> int:
    console = Console(width=None if sys.stdout.isatty() else 140)
    machine, began_s = describe_machine(), time.monotonic()
    measurements: list[Measurement] = []
    async with _system(ready_path) as system:
        for name, measure in jobs.items():
            job_began_s = time.monotonic()
            try:
                measurements.append(await measure(system))
                how = "measured"
            except Exception:  # noqa: BLE001 - whatever broke this job, the others can still be measured
                traceback.print_exc()
                how = "failed"
            job_took_s = time.monotonic() - job_began_s
            console.print(f"{name} {how} in {job_took_s:.0f} s", style="dim", highlight=False)
    took_s = time.monotonic() - began_s
    print_table(console, machine, measurements)
    write_json(json_path, machine, measurements, took_s)
    console.print(f"{took_s:.0f} s in all; details in {json_path}", highlight=False)
    return 0 if len(measurements) == len(jobs) else 1


@asynccontextmanager
async def _system(ready_path: Path | None) -> AsyncIterator[System]:
    if ready_path is not None:
        yield running_system(ready_path)
        return
    with tempfile.TemporaryDirectory(prefix="quarterdeck-bench-") as directory:
        async with start_system(Path(directory), environment()) as system:
            yield system


if __name__ == "__main__":
    sys.exit(main())
