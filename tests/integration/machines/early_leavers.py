"""Callers of a guest's agent who leave before the answer, and what the others are told.

Every request asks for something that nobody else asks for, so that an answer tells whose it is.
"""

import asyncio
import random
from typing import NamedTuple

from quarterdeck.machines.errors import MachineError
from quarterdeck.machines.guest import Guest
from quarterdeck.machines.qga import QgaProtocol, QgaProtocolBuilder

PATIENT = QgaProtocolBuilder().with_timeout(60)

COMMANDS_PER_CLIENT = 25
EXEC_EVERY = 10
"""So seldom a command is a program, which costs a hundred times as much as an echo of the agent's own."""
MOST_TURNS = 60
"""Of the loop, before a caller leaves: some before the request is sent, some in the middle, some after the end."""


class Tally(NamedTuple):
    own: int
    """Answers that were the caller's own,"""
    others: int
    """or somebody else's."""
    left: int
    """Callers who did not wait for one."""


async def tally(guest: Guest, commands: int, seed: int) -> Tally:
    """`commands` commands by clients that come one after the other. A client disconnects with callers still waiting."""
    chance = random.Random(seed)
    outcomes: list[bool | None] = []
    for first in range(0, commands, COMMANDS_PER_CLIENT):
        client = PATIENT.build()
        await client.connect(guest)
        numbers = range(first, first + COMMANDS_PER_CLIENT)
        callers = [asyncio.create_task(_ask(client, number)) for number in numbers]
        leaving = [
            _leave(caller, chance.randrange(MOST_TURNS)) for caller in callers if chance.random() < 0.5
        ]
        await asyncio.gather(*leaving)
        if chance.random() < 0.5:
            await asyncio.wait(callers)
        await client.disconnect()
        await asyncio.wait(callers)
        outcomes += [_outcome(caller) for caller in callers]
    return Tally(outcomes.count(True), outcomes.count(False), outcomes.count(None))


async def _ask(client: QgaProtocol, number: int) -> bool:
    """Whether the answer was this caller's own."""
    if number % EXEC_EVERY == 0:
        return (await client.exec_shell(f"echo {number}")).decode_stdout() == f"{number}\n"
    return bool(await client.execute("guest-sync", {"id": number}) == number)


async def _leave(caller: "asyncio.Task[bool]", turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    caller.cancel()


def _outcome(caller: "asyncio.Task[bool]") -> bool | None:
    if caller.cancelled() or isinstance(caller.exception(), MachineError):
        return None
    return caller.result()
