"""A command that one request answers: QMP, keys, a line to a channel. Called through handler_run.py, as handlers are.

Owns what each of them says to the guest, and what of its answer is the result. Terminate and timeouts cancel the call;
a request that is on its way is not taken back, and its connection goes on without it.
"""

from typing import Any

import msgspec

from quarterdeck.agent.guests.connections import Connections
from quarterdeck.agent.guests.exchange import exchange
from quarterdeck.agent.guests.mishaps import Mishap, not_reached, while_asked
from quarterdeck.agent.guests.plans import GuestCall
from quarterdeck.agent.guests.sharing import NotReached
from quarterdeck.agent.handlers import HandlerContext, HandlerError
from quarterdeck.contracts import guests
from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.limits import MAX_PAYLOAD_BYTES
from quarterdeck.machines.errors import MachineError
from quarterdeck.machines.guest import Guest
from quarterdeck.wire.codes import ResultReason


class GuestCaller:
    """A CommandExecutor for one call."""

    def __init__(self, call: GuestCall, guest: Guest | None, connections: Connections) -> None:
        """`guest`: None when it is not there any more."""
        self._call = call
        self._guest = guest
        self._connections = connections

    async def execute(self, command_type: str, payload: bytes, context: HandlerContext) -> bytes:
        """Raises HandlerError, whatever goes wrong. The arguments were read when the order came."""
        if self._guest is None:
            raise HandlerError(ResultReason.GUEST_UNREACHABLE, f"{self._call.guest} is gone")
        try:
            answer = await self._answer(self._guest)
        except NotReached as error:
            raise _handler_error(not_reached(error.cause), error.cause.message) from error
        except MachineError as error:
            harmless = self._call.command_type == guests.QMP_QUERY_STATUS
            raise _handler_error(while_asked(error, harmless=harmless), error.message) from error
        except InvalidInput as error:
            raise HandlerError(ResultReason.INVALID_PAYLOAD, f"invalid payload: {error.message}") from error
        result = b"" if answer is None else msgspec.json.encode(answer)
        if len(result) > MAX_PAYLOAD_BYTES:
            text = f"execution failed: the answer has more than {MAX_PAYLOAD_BYTES} bytes"
            raise HandlerError(ResultReason.EXECUTION_FAILED, text)
        return result

    async def _answer(self, guest: Guest) -> Any:
        """JSON-able; None: there is nothing to tell. Raises NotReached, MachineError, InvalidInput, HandlerError."""
        match self._call.command_type, self._call.asked:
            case guests.QMP_EXECUTE, guests.QmpExecute() as asked:
                async with self._connections.qmp(guest) as qmp:
                    return await qmp.execute_command(asked.command, asked.arguments or None)
            case guests.QMP_SEND_KEYS, guests.SendKeys() as asked:
                async with self._connections.qmp(guest) as qmp:
                    return await qmp.send_keys(asked.keys, asked.hold_ms)
            case guests.QMP_QUERY_STATUS, None:
                async with self._connections.qmp(guest) as qmp:
                    return await qmp.query_status()
            case guests.SPICE_SEND_KEYS, guests.SendKeys() as asked:
                async with self._connections.spice(guest) as spice:
                    return await spice.send_keys(asked.keys, asked.hold_ms)
            case guests.VIRTIO_SEND, guests.VirtioSend() as asked:
                async with self._connections.channel(guest, asked.channel) as channel:
                    return await exchange(channel, asked)
        raise AssertionError(f"no call: {self._call.command_type}")


def _handler_error(mishap: Mishap, text: str) -> HandlerError:
    return HandlerError(mishap.reason, text, unknown=mishap.unknown)
