"""The library qemu.qmp, kept within bounds: no history of events, ids of our own, a count of what is unanswered.

QEMU finishes a command whose client has left, and may tell the next client the answer (2 of 300 such clients, in 7.2).
The library would take it for its own: its ids begin anew with each connection, and its negotiation looks at no id.

Owns what is changed about the library; socket_monitor.py owns the connection. The version is pinned, since the methods
here are the library's own.
"""

import logging
import secrets
from collections.abc import Callable
from typing import Final

from qemu.qmp import Message, QMPClient, Runstate

MAX_REPLY_BYTES: Final = 10 * 1024 * 1024
"""One line of QEMU's. Longer than any that it writes, and the limit of libvirt as well; the buffer holds up to two."""


class MonitorClient(QMPClient):
    """A QMPClient for one connection."""

    def __init__(self, on_event: Callable[[Message], None]) -> None:
        super().__init__(readbuflen=MAX_REPLY_BYTES)
        # The library logs every failure as an error, and every message, payload and all, when debugging.
        self.logger = logging.getLogger("qemu.qmp.quiet")
        self.logger.disabled = True
        self._on_event = on_event
        self._connection_id = secrets.token_hex(8)
        self._awaited: set[str] = set()

    @property
    def unanswered(self) -> int:
        """Requests that QEMU has not answered, those of callers who left included."""
        return len(self._awaited)

    def _get_exec_id(self) -> str:
        exec_id = f"{self._connection_id}-{super()._get_exec_id()}"
        self._awaited.add(exec_id)
        return exec_id

    async def _do_recv(self) -> Message:
        while True:
            message = await super()._do_recv()
            # Neither the greeting nor the answer to the negotiation has an id.
            if self.runstate is Runstate.RUNNING or not ("id" in message or "event" in message):
                return message

    async def _on_message(self, msg: Message) -> None:
        if "event" in msg:
            self._on_event(msg)
        elif "id" not in msg:
            await super()._on_message(msg)  # QEMU could not parse what it was sent; ends the connection
        elif (exec_id := msg["id"]) in self._awaited:
            self._awaited.remove(str(exec_id))
            await super()._on_message(msg)
        # Anything else answers somebody else, or a second time.

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg
