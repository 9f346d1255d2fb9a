"""A desk that writes down what a conversation tells it, and a connection that keeps what is sent."""

from typing import Any

from quarterdeck.contracts.links import Epoch
from quarterdeck.contracts.orders import GatewayOrder
from quarterdeck.contracts.output import OutputStream
from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.foreign.command import ForeignCommand, Phase
from quarterdeck.gateway.messages import OrderSheet
from quarterdeck.gateway.send_queue import QueuedOrder
from quarterdeck.wire.agent_v1 import agent_pb2 as native


class RecordingDesk:
    """Implements `Desk`; `told` has one tuple per call, in order."""

    def __init__(self, *commands: ForeignCommand) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._commands = {command.command_id: command for command in commands}

    def find(self, command_id: str) -> ForeignCommand | None:
        return self._commands.get(command_id)

    def accepted(self, command: ForeignCommand) -> None:
        self.told.append(("accepted", command.command_id))

    def started(self, command: ForeignCommand) -> None:
        self.told.append(("started", command.command_id))

    def output(
        self, command: ForeignCommand, stream: OutputStream, chunk: bytes, at_ms: int | None = None
    ) -> None:
        self.told.append(("output", command.command_id, stream, chunk, at_ms))

    async def room(self) -> None:
        pass

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
        del self._commands[command.command_id]
        self.told.append(("finished", command.command_id, end, reason, error, exit_code))

    def terminate_acked(self, command: ForeignCommand) -> None:
        self.told.append(("terminate_acked", command.command_id))

    def abandon(self, command: ForeignCommand, text: str) -> None:
        self.told.append(("abandon", command.command_id, text))

    def fenced(self, what: str) -> None:
        self.told.append(("fenced", what))

    def heartbeat(self) -> None:
        self.told.append(("heartbeat",))


class SentFrames:
    """Implements `Connection` for a conversation that only sends."""

    peer = "192.0.2.1:4711"

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    async def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def receive(self) -> bytes | None:
        return None

    async def close(self, reason: str) -> None:
        pass


def written_command(
    command_id: str = "c-1",
    *,
    timeout_ms: int = 0,
    spec: native.CommandSpec | None = None,
) -> ForeignCommand:
    """A command that was put on the wire."""
    spec = spec or native.CommandSpec(command_type="shell", payload=b'{"command": "uptime"}')
    order = GatewayOrder(
        command_id=command_id, agent_id="a1", attempt=1, epoch=Epoch(1, 1), timeout_ms=timeout_ms
    )
    sheet = OrderSheet(tenant="acme", spec=spec.SerializeToString(), priority=5)
    command = ForeignCommand(QueuedOrder((-5, 1), sheet, order), spec, 1)
    command.phase = Phase.WRITTEN
    return command
