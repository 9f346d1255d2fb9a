"""Commands in a virtual machine: `echo` in a booted guest, one at a time, beside the bare client of its agent."""

import tempfile
from pathlib import Path
from typing import Final

from quarterdeck.testing.machines import BootedGuest
from tests.benchmarks.client.commands import command_body, open_submitter
from tests.benchmarks.companion import ROOT
from tests.benchmarks.load import keep_in_flight
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Spread, Target
from tests.benchmarks.raw import guest_exec
from tests.benchmarks.system import System

_HYPERVISOR: Final = "hypervisor"
_COMMAND: Final = "echo hello"
_IMAGE: Final = ROOT / "build" / "guest"
"""Made by tools/guest_image.py."""


async def measure(system: System) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="qd-") as directory:
        vms, state = Path(directory, "vms"), Path(directory, "agent")
        async with BootedGuest.running(vms, _IMAGE) as booted:
            # First the bare client: the guest's agent serves one client at a time, and ours keeps its connection.
            raw = Spread.of(await guest_exec.sequential_round_trips_ms(booted.guest, _COMMAND))
            sockets = (
                *("--guest-sockets", f"qmp={vms}/{{guest}}/qmp.sock"),
                *("--guest-sockets", f"qga={vms}/{{guest}}/qga.sock"),
            )
            async with system.hypervisor(_HYPERVISOR, booted.name, state, *sockets):
                body = command_body(f"{_HYPERVISOR}/{booted.name}", "shell", {"command": _COMMAND})
                async with open_submitter(system.endpoint, in_flight=1) as submitter:
                    load = await keep_in_flight(system, lambda _: submitter.run_command(body), in_flight=1)
    product = Spread.of(load.latencies_ms)
    return Measurement(
        job="guests",
        figures=(
            Figure(
                what="echo in a guest, one at a time, p50",
                value=product.p50,
                unit="ms",
                raw=Raw(value=raw.p50, what="bare QGA client"),
                target=Target(bound=Bound.AT_MOST, limit=2, stretch=1.5, times_raw=True),
            ),
        ),
        details={
            "p99, ms": product.p99,
            "p99 of the bare client, ms": raw.p99,
            **{f"CPU µs per command, {process}": used_us for process, used_us in load.cpu_us.items()},
        },
    )
