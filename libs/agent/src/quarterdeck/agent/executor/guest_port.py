"""What the executor asks of guests.guests.Guests, which only an agent loads that was told to look for guests."""

from collections.abc import Callable
from typing import Protocol

from quarterdeck.agent.executor.outcome import Run
from quarterdeck.agent.executor.run_spec import RunSpec
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.agent.guests.plans import GuestCall, GuestExecution
from quarterdeck.agent.handlers import CommandExecutor


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

    def run(self, plan: GuestExecution, spec: RunSpec, output: CommandOutput) -> Run: ...

    def caller(self, call: GuestCall) -> CommandExecutor:
        """Makes this one call, whatever it is given."""
        ...

    async def end_leftover(self, guest: str, marker: str) -> bool:
        """End what a command of an executor before us left in a guest. True: proven that nothing is left."""
        ...
