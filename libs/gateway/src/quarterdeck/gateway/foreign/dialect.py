"""What the gateway needs of another system's protocol: how an agent says who it is, and how a link of it is spoken.

A dialect is a `Dialect`, made once by the service, and a `Conversation` per link. It decodes and encodes; what it hears
it tells its `Desk`. It owns no timers, no queues and no state of commands: a foreign agent keeps nothing for us and
acknowledges nothing, so `ForeignLink` keeps for it what an executor of ours would.
"""

from typing import Protocol

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.agents import Dialect as DialectName
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.foreign.command import ForeignCommand
from quarterdeck.wire.agent_v1 import agent_pb2 as pb


class Desk(Protocol):
    """What a conversation tells of commands. No method waits, but for `room`.

    Facts that come late, twice or out of order are taken as far as they make sense: the first end counts.
    """

    def find(self, command_id: str) -> ForeignCommand | None:
        """A command of this link that was written and has not ended; None for anything else."""
        ...

    def accepted(self, command: ForeignCommand) -> None: ...

    def started(self, command: ForeignCommand) -> None:
        """Implies `accepted`."""
        ...

    def output(
        self, command: ForeignCommand, stream: OutputStream, chunk: bytes, at_ms: int | None = None
    ) -> None:
        """The next bytes of `stream`, of any length. Implies `started`. `at_ms`: the agent's clock."""
        ...

    async def room(self) -> None:
        """Returns when output may come again: await it after each message that brought some."""
        ...

    def finished(
        self,
        command: ForeignCommand,
        end: CommandState,
        *,
        reason: str = "",
        error: str = "",
        exit_code: int | None = None,
        result: bytes = b"",
    ) -> None:
        """The end. `result`: JSON text. A stop that was asked for turns `failed` into what it was asked for."""
        ...

    def terminate_acked(self, command: ForeignCommand) -> None:
        """The agent will start nothing for it any more."""
        ...

    def abandon(self, command: ForeignCommand, text: str) -> None:
        """End it here, as terminated or timed out, because the protocol cannot say so; late answers are fenced.

        `text`: what is not known, such as `agent may still run it`.
        """
        ...

    def fenced(self, what: str) -> None:
        """Something came that belongs to no command of this link. Counted; logged once per link and `what`."""
        ...

    def heartbeat(self) -> None:
        """Counted; every 20th is logged."""
        ...


class Conversation(Protocol):
    """One link in the dialect's words, from the proof of who it is to its end."""

    record: AgentRecord
    """Who it is, and what it said of itself."""
    max_running: int | None
    """How many commands of one type the agent runs at a time; the gateway holds the others back. None: no limit."""

    def refusal(self, spec: pb.CommandSpec, guest: str) -> str | None:
        """Why this protocol cannot carry a command; None when it can. Nothing is sent of what is refused."""
        ...

    def bind(self, desk: Desk) -> None:
        """Called once, before anything else but `refusal`."""
        ...

    async def welcome(self) -> None:
        """The link stands: say so, if the protocol does. No order is written before it returns."""
        ...

    async def write_order(self, command: ForeignCommand) -> None:
        """Put the order on the wire. Raises ConnectionLost."""
        ...

    async def write_terminate(self, command: ForeignCommand) -> None:
        """Ask for its end, or `abandon` it where the protocol has no word for that. Raises ConnectionLost."""
        ...

    async def take(self, frame: bytes) -> None:
        """One message of the agent. Raises LinkRefused: undecodable, protocol, unauthenticated."""
        ...

    async def goodbye(self, reason: str) -> None:
        """Last words, if the protocol has any. Raises ConnectionLost."""
        ...


class Dialect(Protocol):
    """One protocol. Stateless but for its settings and its `Admission`."""

    name: DialectName

    async def open(self, connection: Connection) -> Conversation:
        """Read what the agent says first, and prove who it is.

        A refusal is said in the dialect's own words before LinkRefused is raised. Raises ConnectionLost too.
        """
        ...
