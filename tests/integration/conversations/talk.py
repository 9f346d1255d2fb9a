"""A program that embeds the service, and what the bus and the store then have."""

import json
from typing import Any

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Bus
from quarterdeck.core.clock import SystemClock
from quarterdeck.core.conversations import ConversationCommandService
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import Move, Store

TENANT = "t"
USER = "alice"


class Talk:
    def __init__(self, bus: Bus, store: Store) -> None:
        self.bus = bus
        self.store = store
        self.clock = SystemClock()
        self.relay = Relay(bus, store)
        self.service = ConversationCommandService(store, self.relay, self.clock, tenant=TENANT)

    async def session(self, user: str = USER) -> str:
        return (await self.service.create_session(user)).session_id

    async def ask(self, session_id: str, *, user: str | int = USER, **asked: Any) -> dict[str, Any]:
        asked = {"command_type": "CHARACTER_REQUEST", "payload": {"user_input": "a hero"}, **asked}
        return await self.service.enqueue_command(user, session_id, **asked)

    async def end(self, command_id: str, end: CommandState = CommandState.SUCCEEDED) -> None:
        at_ms = self.clock.now_ms()
        sent = {"agent_id": "a1", "sent_at_ms": at_ms}
        for state, fields in ((CommandState.SENT, sent), (end, {"completed_at_ms": at_ms})):
            await self.relay.publish(
                (await self.store.apply([Move(command_id, 1, state, at_ms, fields)])).entries
            )

    async def told(self, type_: str) -> list[dict[str, Any]]:
        """The events of one type that the bus has, in order."""
        entity, _, verb = type_.partition(".")
        filters = [subjects.event(TENANT, "*", "*", entity, verb)]
        events: list[dict[str, Any]] = []
        async for messages in self.bus.read(streams.FEED, filters, follow=False):
            events += [json.loads(message.body) for message in messages]
        return events
