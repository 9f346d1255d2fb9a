"""Back-pressure on the whole product: `python -m tests.chaos.back_pressure --seconds 60`.

Starts an embedded system with agents on both carriers, plays the scenes, prints memory against the stated bounds and
the pace of others, and exits with 1 when a bound or the ratio was broken or anything was lost.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.chaos.back_pressure.bounds import P99_RATIO, beyond, bound_mib
from tests.chaos.back_pressure.memory import watching_memory
from tests.chaos.back_pressure.scenes import SCENES, Ground, Outcome
from tests.e2e.system import System

_WITHOUT_PACE: Final = frozenset({"aggregator"})
"""Nothing of anybody ends while it is stopped: there is no pace to compare."""
_WARM_UP_S: Final = 3.0


async def main(arguments: argparse.Namespace) -> int:
    console = Console()
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="qd-pressure-") as directory:
        async with System.running(Path(directory) / "data", "--agents", str(arguments.agents)) as system:
            async with watching_memory(system) as memory:
                ground = Ground(system, memory, noisy=system.agent_on(arguments.carrier))
                await ground.trickle.run(_WARM_UP_S)
                for name in arguments.scenes or SCENES:
                    outcomes[name] = await SCENES[name](ground, arguments.seconds)
                    console.print(f"{name}: {_verdict(name, outcomes[name]) or 'kept'}")
    _print_memory(console, outcomes)
    _print_pace(console, outcomes)
    return 1 if any(_verdict(name, outcome) for name, outcome in outcomes.items()) else 0


def _verdict(name: str, outcome: Outcome) -> str:
    """What was broken; empty when nothing was."""
    broken = [f"{process} {mib:.0f} MiB" for process, mib in beyond(outcome.peak_mib).items()]
    if name not in _WITHOUT_PACE and outcome.p99_ratio >= P99_RATIO:
        broken.append(f"p99 × {outcome.p99_ratio:.1f}")
    if outcome.lost:
        broken.append(f"{len(outcome.lost)} lost: {outcome.lost[:3]}")
    return ", ".join(broken)


def _print_memory(console: Console, outcomes: dict[str, Outcome]) -> None:
    table = Table("process", "bound, MiB", *outcomes, title="Peak memory (RSS, MiB)")
    for process in sorted({process for outcome in outcomes.values() for process in outcome.peak_mib}):
        peaks = (f"{outcome.peak_mib.get(process, 0):.0f}" for outcome in outcomes.values())
        table.add_row(process, str(bound_mib(process)), *peaks)
    console.print(table)


def _print_pace(console: Console, outcomes: dict[str, Outcome]) -> None:
    table = Table("scene", "commands", "undisturbed p50 / p99", "disturbed p50 / p99", "p99 ratio", "lost")
    for name, outcome in outcomes.items():
        before, during = outcome.before.ms, outcome.during.ms
        ratio = "–" if name in _WITHOUT_PACE else f"{outcome.p99_ratio:.2f}"
        table.add_row(
            outcome.scene,
            str(outcome.before.commands + outcome.during.commands + outcome.after.commands),
            f"{before.p50:.0f} / {before.p99:.0f} ms",
            f"{during.p50:.0f} / {during.p99:.0f} ms",
            ratio,
            str(len(outcome.lost)),
        )
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.back_pressure", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each disturbance lasts")
    parser.add_argument(
        "--carrier", choices=("grpc", "quic"), default="grpc", help="of the agent that prints"
    )
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("scenes", nargs="*", choices=[*SCENES, []], help="all when none is named")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(_arguments())))
