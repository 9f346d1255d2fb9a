"""`python -m quarterdeck.cli.demo`: the whole system once through, on this machine, leaving nothing behind.

Starts the embedded system with four agents (two over QUIC, two over gRPC) in a temporary directory, runs a script on
all of them with its output live, cancels a second run midway, shows what became of both, and stops. Exits with 1 when
anything is not as it must be. Uses the same client as the verbs. Called by `just demo`.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.rule import Rule
from rich.text import Text

from quarterdeck.cli.board import Board, Row
from quarterdeck.cli.client.api import Api, Order
from quarterdeck.cli.output.lines import PrefixedLines
from quarterdeck.cli.progress import Progress
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import counts_line, outcome_table, rows_of
from quarterdeck.cli.watch import Chunk, Watch
from quarterdeck.contracts.errors import QuarterdeckError
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.logging import configure
from quarterdeck.embedded import main as embedded
from quarterdeck.embedded.ready_file import ReadySystem
from quarterdeck.embedded.settings import UpSettings

AGENTS: Final = 4

SCRIPT: Final = """#!/bin/sh
echo "$(uname -s) on $(uname -m), up since $(date +%H:%M:%S)"
for step in 1 2 3 4 5 6; do
    echo "step $step of 6"
    sleep 0.5
done
echo "that was all" >&2
"""
_SCRIPT_LINES: Final = 8

ENDLESS: Final = """#!/bin/sh
(sleep 600 & wait) &   # a process tree, not just a process
while :; do echo "still here"; sleep 0.3; done
"""


class Surprise(QuarterdeckError):
    """Something is not as the demo promises."""

    code = "demo_surprise"


class CancelWhenAllSpoke:
    """A Sink that calls `cancel` once, as soon as every machine has printed something."""

    def __init__(self, machines: int, cancel: Callable[[], None]) -> None:
        self._waiting_for = machines
        self._heard: set[str] = set()
        self._cancel = cancel

    def output(self, chunk: Chunk) -> None:
        if chunk.row.target not in self._heard:
            self._heard.add(chunk.row.target)
            if len(self._heard) == self._waiting_for:
                self._cancel()

    def gap(self, row: Row, stream: OutputStream, missing_bytes: int) -> None:
        """Nothing may be missing."""
        raise Surprise(f"{row.target}: {missing_bytes} bytes of {stream} are missing")

    def changed(self, row: Row) -> None:
        """The board knows."""

    async def finish(self, board: Board) -> None:
        """Nothing is held back."""


async def demonstrate(system: ReadySystem, screen: Screen) -> None:
    """Both runs. Raises Surprise, ApiProblem, ServerUnreachable, WatchLost."""
    async with Api(system.api, system.token) as api:
        agents = await api.agents(connected=True)
        screen.show(
            rows_of(
                ("AGENT", "CARRIER", "GATEWAY"),
                ((a.agent_id, a.link.carrier, a.link.gateway_id) for a in agents if a.link),
            )
        )
        targets = [agent.agent_id for agent in agents]
        screen.show(Rule("1. A script on all of them, live", align="left"))
        first = await _run(api, screen, targets, SCRIPT, alias="demo", cancel=False)
        screen.show(Rule("2. Another one, cancelled midway", align="left"))
        second = await _run(api, screen, targets, ENDLESS, alias="demo-cancel", cancel=True)
        screen.show(Rule("What became of them", align="left"))
        for board in (first, second):
            screen.show(outcome_table(list(board.rows.values())))
        await _check(api, first, second)


async def _run(
    api: Api, screen: Screen, targets: list[str], script: str, *, alias: str, cancel: bool
) -> Board:
    order = Order(
        target_vps_ids=targets, command_type="shell", payload={"script": script}, execution_alias=alias
    )
    batch_id = (await api.submit(order)).batch_command_id
    board = Board((child_id(batch_id, index), target) for index, target in enumerate(targets))
    lines = PrefixedLines(screen, targets)
    cancelling: list[asyncio.Task[None]] = []
    trigger = CancelWhenAllSpoke(
        len(targets), lambda: cancelling.append(asyncio.create_task(api.terminate_batch(batch_id)))
    )
    with screen.live(Progress(board, SystemClock())):
        await Watch(board, [lines, trigger] if cancel else [lines]).run(api.watch_batch(batch_id))
    await lines.finish(board)
    await asyncio.gather(*cancelling)
    screen.note(counts_line(board), "bold")
    return board


async def _check(api: Api, first: Board, second: Board) -> None:
    """The promises that a reader cannot see from the table."""
    if first.counts != {CommandState.SUCCEEDED: AGENTS}:
        raise Surprise(f"first run: {counts_line(first)}")
    if second.counts != {CommandState.TERMINATED: AGENTS}:
        raise Surprise(f"second run: {counts_line(second)}")
    for row in first.rows.values():
        stored = b"".join([piece async for piece in api.output(row.command_id, OutputStream.STDOUT)])
        if len(stored) != row.stdout_bytes or stored.count(b"\n") != _SCRIPT_LINES - 1:
            raise Surprise(f"{row.target}: its stored output is not what it printed")


async def _demo() -> int:
    screen = Screen.of_process()
    started_s = time.monotonic()
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    with tempfile.TemporaryDirectory(prefix="quarterdeck-demo-") as directory:
        settings = UpSettings(
            data_dir=Path(directory),
            environ=embedded.environment(),
            agents=AGENTS,
            port=0,
            grpc_port=0,
            quic_port=0,
        )
        screen.show(Text("Starting NATS, Redis, six services and four agents…", "dim"))
        async with embedded.running(settings) as system:
            screen.show(Text(f"Ready after {time.monotonic() - started_s:.1f} s: {system.api}", "bold green"))
            await demonstrate(system, screen)
            screen.show(Text("Stopping…", "dim"))
    screen.show(Text("Everything was as it must be. `just up` starts one to stay.", "bold green"))
    return 0


def main() -> int:
    """The exit code: 0, or 1 with what went wrong."""
    configure("console", "warning", service="demo", service_id="demo")
    try:
        return asyncio.run(_demo())
    except QuarterdeckError as error:
        print(f"demo: {error.message}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
