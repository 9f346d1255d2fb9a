"""Live commands, followed to their end as an agent does it."""

import asyncio
from typing import Final, NamedTuple

from quarterdeck.contracts.ids import new_id
from quarterdeck.machines.qga import GuestExecStatus, LiveExec, LiveExecSpec, Scratch

MARKER: Final = f"{new_id()}.1"
"""Unique on the host, as in production: other workers run commands here at the same time."""
OTHER_MARKER: Final = f"{new_id()}.1"


class Finished(NamedTuple):
    pid: int
    stdout: bytes
    stderr: bytes
    end: GuestExecStatus

    @property
    def text(self) -> str:
        return self.stdout.decode()


async def followed(run: LiveExec) -> tuple[bytes, bytes, GuestExecStatus]:
    """What a started command prints from now on, and its end."""
    stdout, stderr = bytearray(), bytearray()
    while True:
        step = await run.step()
        stdout += step.stdout
        stderr += step.stderr
        if step.end is not None:
            return bytes(stdout), bytes(stderr), step.end
        await asyncio.sleep(step.pause_s)


async def finished(scratch: Scratch, spec: LiveExecSpec) -> Finished:
    """Started, followed to its end, removed."""
    run = LiveExec(scratch, spec)
    try:
        pid = await run.start()
        return Finished(pid, *await followed(run))
    finally:
        await run.remove()


def shell(command: str, *, marker: str = MARKER) -> LiveExecSpec:
    return LiveExecSpec(marker=marker, argv=("/bin/sh", "-c", command))
