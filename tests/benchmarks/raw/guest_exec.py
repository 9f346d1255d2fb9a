"""Raw hop: a command in a guest, started and waited for by nothing but the client of its agent."""

import time

from quarterdeck.machines.guest import Guest
from quarterdeck.machines.qga import QgaProtocolBuilder


async def sequential_round_trips_ms(guest: Guest, command: str, *, measure_s: float = 4.0) -> list[float]:
    """One after the other, for the guest's shell. Raises MachineError."""
    qga = QgaProtocolBuilder().build()
    await qga.connect(guest)
    latencies_ms = []
    try:
        ends_s = time.perf_counter() + measure_s
        while (began_s := time.perf_counter()) < ends_s:
            await qga.exec_shell(command)
            latencies_ms.append((time.perf_counter() - began_s) * 1000)
    finally:
        await qga.disconnect()
    return latencies_ms
