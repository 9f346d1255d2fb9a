"""The one act of a conversation's round: command, domain event, outbox entry and round, together or not at all."""

from typing import Final

import stamina

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.ids import new_id, shard_of
from quarterdeck.contracts.orders import DispatchChunk, DispatchItem
from quarterdeck.contracts.sessions import ANY_AGENT
from quarterdeck.core import metrics
from quarterdeck.core.clock import Clock
from quarterdeck.core.conversations.event_handler import ConversationEventHandler
from quarterdeck.core.conversations.requests import SessionRequest
from quarterdeck.core.store import Enqueued, NewRound, RawEntry, SessionView, Store

_TRIES: Final = 3
_WAIT_S: Final = 0.05
_WAIT_MAX_S: Final = 0.5


class ConversationRoundCreationService:
    def __init__(self, store: Store, clock: Clock, events: ConversationEventHandler) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._tries = stamina.AsyncRetryingCaller(
            attempts=_TRIES, wait_initial=_WAIT_S, wait_max=_WAIT_MAX_S
        ).on(Unavailable)

    async def create(self, request: SessionRequest, session: SessionView) -> Enqueued:
        """One script, which also decides whether an earlier command stands for this request. Raises Unavailable.

        Tried again while Redis is away: a try whose answer was lost is recognised by the command's id.
        """
        new = self._round(request, session)

        async def act() -> Enqueued:  # without arguments: what retries is logged with them
            with metrics.SESSION_TRANSACTION.time():
                return await self._store.enqueue(new)

        return await self._tries(act)

    def _round(self, request: SessionRequest, session: SessionView) -> NewRound:
        command_id = new_id(shard_of(request.session_id))
        now_ms, spec = self._clock.now_ms(), request.spec
        chunk = DispatchChunk(
            tenant=request.tenant,
            user_id=request.user_id,
            spec=spec,
            items=(DispatchItem(command_id, ANY_AGENT),),
            created_at_ms=now_ms,
        )
        subject = subjects.command(request.tenant, spec.lane)
        return NewRound(
            session_id=request.session_id,
            tenant=request.tenant,
            user_id=request.user_id,
            command_id=command_id,
            spec=spec,
            created_at_ms=now_ms,
            messages=(RawEntry(subject, f"{command_id}-dispatch", codec.encode(chunk)),),
            accepted=self._events.accepted(request),
            told=self._events.domain_event(request, session, command_id),
            idempotency=request.idempotency,
        )
