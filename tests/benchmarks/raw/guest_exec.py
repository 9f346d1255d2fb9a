"""Raw hop: a command in a guest, started and waited for by nothing but the client of its agent."""

import time

from quarterdeck.machines.qga import QgaProtocol


async def round_trip_ms(qga: QgaProtocol, command: str) -> float:
    """For the guest's shell, its output kept by the agent. Raises MachineError."""
    began_s = time.perf_counter()
    await qga.exec_shell(command)
    return (time.perf_counter() - began_s) * 1000
