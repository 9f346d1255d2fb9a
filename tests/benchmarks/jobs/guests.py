"""A short command in a booted virtual machine, one at a time, beside the bare client of its agent.

The guest is emulated, and starting a program takes it some 15 ms: what is compared is how many things a guest is asked
to do for one command, and how often.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from quarterdeck.machines.guest import Guest
from quarterdeck.machines.qga import LiveExec, LiveExecSpec, QgaProtocolBuilder, Scratch
from quarterdeck.testing.machines import BootedGuest
from tests.benchmarks.client.commands import command_body, open_submitter
from tests.benchmarks.companion import ROOT
from tests.benchmarks.load import Load, keep_in_flight
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Spread, Target
from tests.benchmarks.raw import guest_exec
from tests.benchmarks.system import System

_HYPERVISOR: Final = "hypervisor"
_COMMAND: Final = "echo hello"
_WARM_UP: Final = 10
_COMMANDS: Final = 100
_IMAGE: Final = ROOT / "build" / "guest"
"""Made by tools/guest_image.py."""


class _Roads(NamedTuple):
    """Milliseconds per command."""

    bare: Spread
    live: Spread


async def measure(system: System) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="qd-") as directory:
        vms, state = Path(directory, "vms"), Path(directory, "agent")
        async with BootedGuest.running(vms, _IMAGE) as booted:
            roads = await _into(
                booted.guest
            )  # first: the agent keeps its connection, and there can be but one
            whole = await _whole_road(system, vms, booted.name, state)
    raw = Raw(value=roads.bare.p50, what="bare QGA client")
    product = Spread.of(whole.latencies_ms)
    return Measurement(
        job="guests",
        figures=(
            Figure(
                what="command in a guest, its output live, p50",
                value=roads.live.p50,
                unit="ms",
                raw=raw,
                target=Target(bound=Bound.AT_MOST, limit=2, stretch=1.5, times_raw=True),
            ),
            Figure(what="the same, POST → end seen, p50", value=product.p50, unit="ms", raw=raw),
        ),
        details={
            "p99 of the bare client, ms": roads.bare.p99,
            "p99, its output live, ms": roads.live.p99,
            "p99, POST → end seen, ms": product.p99,
            **{f"CPU µs per command, {process}": used_us for process, used_us in whole.cpu_us.items()},
        },
    )


async def _into(guest: Guest) -> _Roads:
    """Both in turns, so that whatever else the machine does meets both."""
    qga = QgaProtocolBuilder().build()
    await qga.connect(guest)
    scratch = Scratch(qga)
    bare_ms, live_ms = [], []
    try:
        for number in range(_WARM_UP + _COMMANDS):
            bare_ms.append(await guest_exec.round_trip_ms(qga, _COMMAND))
            live_ms.append(await _live_round_trip_ms(scratch, f"bench-{number}"))
        await scratch.remove()
    finally:
        await qga.disconnect()
    return _Roads(Spread.of(bare_ms[_WARM_UP:]), Spread.of(live_ms[_WARM_UP:]))


async def _live_round_trip_ms(scratch: Scratch, marker: str) -> float:
    """As an agent runs it."""
    began_s = time.perf_counter()
    live = LiveExec(scratch, LiveExecSpec(marker=marker, argv=("/bin/sh", "-c", _COMMAND)))
    await live.start()
    while True:
        step = await live.step()
        if step.end is not None:
            break
        await asyncio.sleep(step.pause_s)
    took_ms = (time.perf_counter() - began_s) * 1000
    await live.remove()
    return took_ms


async def _whole_road(system: System, vms: Path, guest: str, state: Path) -> Load:
    sockets = (
        *("--guest-sockets", f"qmp={vms}/{{guest}}/qmp.sock"),
        *("--guest-sockets", f"qga={vms}/{{guest}}/qga.sock"),
    )
    body = command_body(f"{_HYPERVISOR}/{guest}", "shell", {"command": _COMMAND})
    async with system.hypervisor(_HYPERVISOR, guest, state, *sockets):
        async with open_submitter(system.endpoint, in_flight=1) as submitter:
            return await keep_in_flight(system, lambda _: submitter.run_command(body), in_flight=1)
