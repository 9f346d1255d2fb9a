"""`just chaos`: a whole system under load, something killed or stopped every 0.2–2 s, and a verdict per invariant.

    python -m tests.chaos [--minutes N] [--seed S] [--commands N] [--agents N] [--flushall] [--markdown] [--keep DIR]

Exits 0 when every invariant was kept, 1 when one was broken; then the data, the logs and the oracle's file stay.
"""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from quarterdeck.core.logging import configure
from tests.benchmarks.companion import ROOT
from tests.chaos.report import markdown, print_table, write_json
from tests.chaos.run import Plan, run

_COMMANDS_PER_MINUTE: Final = 220
_FLUSH_EVERY_S: Final = 60


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="chaos", description="Kill everything, and check that nothing was lost."
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="the same seed draws the same orders and the same faults")
    parser.add_argument("--commands", type=int, help=f"{_COMMANDS_PER_MINUTE} a minute when absent")
    parser.add_argument("--agents", type=int, default=20, help="half of them on each carrier")
    parser.add_argument("--flushall", action="store_true", help="also lose all of Redis, about once a minute")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "chaos.json", metavar="PATH")
    parser.add_argument("--markdown", action="store_true", help="print the table for the README, too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where data and logs go, and stay")
    arguments = parser.parse_args()
    plan = Plan(
        seed=secrets.randbelow(10**6) if arguments.seed is None else arguments.seed,
        duration_s=arguments.minutes * 60,
        commands=arguments.commands or round(arguments.minutes * _COMMANDS_PER_MINUTE),
        agents=arguments.agents,
        flush_every_s=_FLUSH_EVERY_S if arguments.flushall else None,
    )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {plan.seed}", highlight=False)
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix=f"quarterdeck-chaos-{plan.seed}-"))
    directory.mkdir(parents=True, exist_ok=True)
    configure("console", "error", service="chaos", service_id="chaos")
    outcome = asyncio.run(run(plan, directory))
    print_table(console, outcome)
    write_json(arguments.json, outcome)
    write_json(directory / "outcome.json", outcome)
    if arguments.markdown:
        print(markdown(outcome))
    if outcome.kept and arguments.keep is None:
        shutil.rmtree(directory)
    else:
        console.print(f"data, logs and the oracle's file: {directory}", highlight=False)
    return 0 if outcome.kept else 1


if __name__ == "__main__":
    sys.exit(main())
