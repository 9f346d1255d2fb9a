"""What the executor asks of guests.guests.Guests, which only an agent loads that was told to look for guests."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from quarterdeck.agent.executor.outcome import Run
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.agent.guests.plans import GuestCall, GuestExecution
from quarterdeck.agent.handlers import CommandExecutor


class GuestRunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run in a guest, and for how long."""

    marker: str
    """proc_table.marker_of its key; in the environment of all its processes."""
    plan: GuestExecution
    working_directory: str
    """Empty: where the guest's agent runs."""
    environment: dict[str, str]
    timeout_s: float | None
    no_output_timeout_s: float | None
    grace_s: float
    """Between SIGTERM and SIGKILL, when a timeout ends it."""


class GuestPort(Protocol):
    """Guests of this host. Start it before anything else is asked."""

    @property
    def names(self) -> tuple[str, ...]:
        """Sorted."""
        ...

    @property
    def command_types(self) -> tuple[str, ...]:
        """That guests execute beside shell and exec."""
        ...

    async def start(self, on_change: Callable[[], None]) -> None:
        """`names` is right when it returns; `on_change` is called whenever it changes afterwards."""
        ...

    async def stop(self) -> None: ...

    def refusal(self, guest: str, command_type: str) -> str | None:
        """Why such a command cannot reach this guest; None: it can."""
        ...

    def run(self, spec: GuestRunSpec, output: CommandOutput) -> Run: ...

    def caller(self, call: GuestCall) -> CommandExecutor:
        """Makes this one call, whatever it is given."""
        ...

    async def end_leftover(self, guest: str, marker: str) -> bool:
        """End what a command of an executor before us left in a guest. True: proven that nothing is left."""
        ...
