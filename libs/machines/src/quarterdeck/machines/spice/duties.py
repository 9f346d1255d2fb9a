"""What a server expects in return for what it sends. Does no I/O; one for each channel, asked for every message.

A server that hears no ACK stops sending after two windows, and one that hears no PONG hangs up after 30 seconds.
"""

from quarterdeck.machines.spice import messages
from quarterdeck.machines.spice.messages import FromServer, Message


class Duties:
    """Counts messages against the server's window."""

    def __init__(self) -> None:
        self._window = 0
        self._since_ack = 0

    def answer(self, message: Message) -> bytes:
        """What goes back, mostly nothing. Raises MalformedMessage."""
        due = self._ack()
        match message.number:
            case FromServer.SET_ACK:
                generation, self._window = messages.ack_window(message.body)
                self._since_ack = 0
                return due + messages.ack_sync(generation)
            case FromServer.PING:
                return due + messages.pong(message.body)
            case _:
                return due

    def _ack(self) -> bytes:
        self._since_ack += 1
        if self._since_ack != self._window:
            return b""
        self._since_ack = 0
        return messages.ack()
