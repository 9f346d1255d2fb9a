"""Ends a command in a guest that may fall silent meanwhile. For execution.py."""

import asyncio

import structlog

from quarterdeck.agent.guests.absence import Absence
from quarterdeck.machines.errors import GuestPaused, MachineError
from quarterdeck.machines.qga import LiveExec

log = structlog.get_logger()


async def stopped(live: LiveExec, grace_s: float) -> bool:
    """Whether nothing of it is left, proven. Raises MachineError: nobody can say.

    A paused guest is not waited for, as whoever stopped the command waits: it may stand still for ever.
    """
    clock = asyncio.get_running_loop().time
    kill_at_s, absence = clock() + grace_s, Absence()
    while True:
        try:
            return await live.stop(max(0.0, kill_at_s - clock()))
        except GuestPaused:
            raise
        except MachineError as error:
            pause_s = absence.seen(error, clock())
            log.info("guests.stop_interrupted", guest=error.guest, code=error.code)
            await asyncio.sleep(pause_s)
