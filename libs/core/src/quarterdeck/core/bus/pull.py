"""Pull requests to one JetStream consumer: several outstanding, accounted for, and never silently dead.

Owns the inbox, the count of messages still to come, and the verdict that the consumer is gone. What the messages mean
is the caller's: consume.py (durable work) and read.py (ordered reading). Source: nats-server ADR-13, ADR-37.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from quarterdeck.core.bus.api import PREFIX
from quarterdeck.core.bus.connection import Connection
from quarterdeck.core.bus.messages import ACK_PREFIX, DESCRIPTION, STATUS
from quarterdeck.core.bus.wire import Delivery

log = structlog.get_logger()

_NANOS: Final = 1_000_000_000
_HEARTBEAT: Final = "100"
_ENDED: Final = frozenset({"404", "408"})
"""No messages; the request expired. The consumer is well."""
_CONFLICT: Final = "409"
_CONSUMER_GONE: Final = ("consumer deleted", "server shutdown", "leadership change")
"""Descriptions of a 409 after which the consumer must be looked up again. Others only end the request."""
_MISSED_HEARTBEATS: Final = 2.5


class PullShape(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are made."""

    max_bytes: int
    """Most bytes one request may bring; must hold the largest message."""
    expires_s: float = 30.0
    heartbeat_s: float = 5.0
    """How often the server says that an idle request is alive. At most half of `expires_s`."""


class Puller:
    """Requests to one consumer at a time. `aim` it, `request`, and again after it is `broken`."""

    def __init__(
        self,
        connection: Connection,
        shape: PullShape,
        on_message: Callable[[Delivery], None],
        on_change: Callable[[], None],
    ) -> None:
        """`on_message` gets each delivered message; `on_change` is called when requests ended or the puller broke."""
        self._connection = connection
        self._shape = shape
        self._on_message = on_message
        self._on_change = on_change
        self._now_s = asyncio.get_running_loop().time
        self._subject = ""
        self._counter = 0
        self._to_come: dict[str, int] = {}
        """Messages still to come, by the reply subject of the request, oldest first: the server serves in order."""
        self._heard_at_s = 0.0
        self._broken = "not aimed yet"
        self._inbox = connection.new_inbox()
        self._interest = connection.listen(f"{self._inbox}.*", self._receive)
        connection.on_lost(self._on_lost)

    @property
    def broken(self) -> str:
        """Why the consumer must be looked up again; empty while all is well."""
        return self._broken

    @property
    def outstanding(self) -> int:
        """Messages requested and not come yet."""
        return sum(self._to_come.values())

    @property
    def patience_s(self) -> float:
        """Silence beyond this, with requests outstanding, means that they are dead."""
        return self._shape.heartbeat_s * _MISSED_HEARTBEATS

    def aim(self, stream: str, consumer: str) -> None:
        """Pull from this consumer from now on; requests to an earlier one are forgotten."""
        self._subject = f"{PREFIX}CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._to_come.clear()
        self._broken = ""

    def request(self, count: int) -> None:
        """Ask for up to `count` messages more."""
        self._counter += 1
        reply = f"{self._inbox}.{self._counter}"
        shape = self._shape
        body = {
            "batch": count,
            "expires": int(shape.expires_s * _NANOS),
            "idle_heartbeat": int(shape.heartbeat_s * _NANOS),
            "max_bytes": shape.max_bytes,
        }
        if self._connection.send(self._subject, msgspec.json.encode(body), reply):
            if not self._to_come:
                self._heard_at_s = self._now_s()
            self._to_come[reply] = count

    def check_alive(self) -> None:
        """Break when requests are outstanding and nothing was heard for too long."""
        if self._to_come and self._now_s() - self._heard_at_s > self.patience_s:
            self.mark_broken("no heartbeat")

    def close(self) -> None:
        """Let go of the inbox; the server forgets the requests with it."""
        self._interest.close()
        self._connection.drop(self._on_lost)

    async def drain(self) -> None:
        """As `close`, and return when every message that was on its way has come."""
        await self._interest.drain()
        self._connection.drop(self._on_lost)

    def _receive(self, message: Delivery) -> None:
        self._heard_at_s = self._now_s()
        if message.reply.startswith(ACK_PREFIX):
            self._count_down()
            self._on_message(message)
            return
        headers = message.headers or {}
        status, description = headers.get(STATUS), headers.get(DESCRIPTION, "")
        if status == _HEARTBEAT:
            return
        self._to_come.pop(message.subject, None)
        if status in _ENDED or (status == _CONFLICT and not description.lower().startswith(_CONSUMER_GONE)):
            self._on_change()
        else:
            self.mark_broken(f"{status} {description}".strip())

    def _count_down(self) -> None:
        for reply, left in self._to_come.items():
            if left == 1:
                del self._to_come[reply]
            else:
                self._to_come[reply] = left - 1
            return

    def _on_lost(self) -> None:
        self.mark_broken("connection lost")

    def mark_broken(self, reason: str) -> None:
        """Pull no more until aimed again."""
        self._to_come.clear()
        self._broken = reason
        self._on_change()
