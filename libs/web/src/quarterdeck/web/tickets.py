"""Tickets: a browser's EventSource cannot send headers, and a long-lived token in a URL ends up in logs and histories.

A ticket is good once, for 30 seconds, on the watch paths. It lives in the registry, so any replica may redeem what any
other issued; the record's revision decides who was first.
"""

import secrets
from typing import Final

from quarterdeck.contracts.agents import WatchTicket
from quarterdeck.contracts.errors import NotAuthenticated
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Conflict, Registry
from quarterdeck.core.registry.keys import ticket_key
from quarterdeck.web.tokens import Principal, token_hash

LIFETIME_S: Final = 30
_PREFIX: Final = "qdt_"
_SECRET_BYTES: Final = 24


class Tickets:
    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._tokens = registry.tokens
        self._clock = clock

    async def issue(self, principal: Principal) -> str:
        """A fresh ticket for `principal`. Raises Unavailable."""
        await self._drop_expired()
        text = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        ticket = WatchTicket(
            tenant=principal.tenant,
            principal=principal.name,
            token_id=principal.token_id,
            expires_at_ms=self._clock.now_ms() + LIFETIME_S * 1000,
        )
        await self._tokens.create(ticket_key(token_hash(text)), ticket)
        return text

    async def redeem(self, text: str) -> Principal:
        """Whose ticket it was. Raises NotAuthenticated when it is unknown, expired or was used before; Unavailable."""
        key = ticket_key(token_hash(text))
        entry = await self._tokens.get(key)
        ticket = entry.value if entry is not None else None
        if (
            entry is None
            or not isinstance(ticket, WatchTicket)
            or ticket.expires_at_ms <= self._clock.now_ms()
        ):
            raise NotAuthenticated("the ticket is not valid", field="ticket")
        spent = WatchTicket(
            tenant=ticket.tenant, principal=ticket.principal, token_id=ticket.token_id, expires_at_ms=0
        )
        try:
            await self._tokens.update(key, spent, entry.revision)
        except Conflict:
            raise NotAuthenticated("the ticket was used before", field="ticket") from None
        await self._tokens.delete(key)
        return Principal(ticket.tenant, ticket.principal, ticket.token_id)

    async def _drop_expired(self) -> None:
        """Tickets that nobody came with would stay for ever: whoever issues the next one clears them away."""
        now_ms = self._clock.now_ms()
        expired = [
            key
            for key, entry in self._tokens.current.items()
            if isinstance(entry.value, WatchTicket) and entry.value.expires_at_ms <= now_ms
        ]
        for key in expired:
            await self._tokens.delete(key)
