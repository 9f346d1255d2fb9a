"""ConversationCommandService: takes commands of sessions in, and tells which one is pending.

Owns the order of the steps and their measures; each step is a piece of its own beside this file.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from quarterdeck.contracts.errors import IdempotencyConflict
from quarterdeck.contracts.ids import check_id, check_uuid, new_id
from quarterdeck.contracts.states import TERMINAL
from quarterdeck.core import metrics
from quarterdeck.core.clock import Clock
from quarterdeck.core.conversations import log_points
from quarterdeck.core.conversations.access import ConversationAccessControl
from quarterdeck.core.conversations.error_handler import ConversationErrorHandler
from quarterdeck.core.conversations.errors import SessionConflict, SessionNotFound, SessionRefused
from quarterdeck.core.conversations.event_handler import ConversationEventHandler
from quarterdeck.core.conversations.requests import SessionRequest, check_user
from quarterdeck.core.conversations.rounds import ConversationRoundCreationService
from quarterdeck.core.conversations.serializer import (
    ConversationSerializer,
    MembersSerializer,
    SessionCommand,
)
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import Enqueued, SessionView, Standing, Store

_NOTHING_PENDING: Final[dict[str, Any]] = {"command_id": None}
Payload = Mapping[str, Any] | msgspec.Raw | None
Admission = Callable[[SessionRequest], Awaitable[None]]


class ConversationCommandService:
    """For the users of one tenant.

    `enqueue_command` and `get_pending_command` answer `{success, command | error}`; `submit`, `pending` and `command`
    are the same for callers who prefer types, and raise SessionRefused.
    """

    def __init__(
        self,
        store: Store,
        relay: Relay,
        clock: Clock,
        *,
        tenant: str = "default",
        serializer: ConversationSerializer | None = None,
        admit: Admission | None = None,
    ) -> None:
        """`serializer`: makes what `enqueue_command` answers as `command`; None: a SessionCommand.

        `admit`: asked before anything is created, once access was granted; what it raises leaves as it is.
        """
        self._store = store
        self._relay = relay
        self._clock = clock
        self._tenant = check_id(tenant, "tenant")
        self._serializer = serializer
        self._admit = admit
        self._members = MembersSerializer()
        self._access = ConversationAccessControl(store)
        self._events = ConversationEventHandler(relay)
        self._rounds = ConversationRoundCreationService(store, clock, self._events)
        self._errors = ConversationErrorHandler()

    async def enqueue_command(
        self,
        user_id: str | int,
        session_id: str | UUID,
        *,
        command_type: str,
        payload: Mapping[str, Any] | None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """`{success: True, command}`, or `{success: False, error, code, status}`. Repeating it is asking once."""
        try:
            command = await self.submit(
                user_id,
                session_id,
                command_type=command_type,
                payload=payload,
                idempotency_key=idempotency_key,
            )
        except SessionRefused as refused:
            return _failure(refused)
        return {
            "success": True,
            "command": self._serializer.serialize(command) if self._serializer else command,
        }

    async def get_pending_command(self, user_id: str | int, session_id: str | UUID) -> dict[str, Any]:
        """`{success: True, command: {command_id, …}}`, its command_id None when nothing is pending; or as above."""
        try:
            command = await self.pending(user_id, session_id)
        except SessionRefused as refused:
            return _failure(refused)
        members = self._members.serialize(command) if command else dict(_NOTHING_PENDING)
        return {"success": True, "command": members}

    async def create_session(self, user_id: str | int) -> SessionView:
        """A new conversation of this user. Raises SessionRefused."""
        owner = str(user_id)
        with self._errors.handling("", owner):
            session_id, now_ms = new_id(), self._clock.now_ms()
            entries = await self._store.create_session(self._tenant, session_id, check_user(owner), now_ms)
            await self._relay.publish(entries, subject_id=session_id)
        return SessionView(
            session_id=session_id,
            tenant=self._tenant,
            owner=owner,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            rounds=0,
            newest_command_id=None,
        )

    async def submit(
        self,
        user_id: str | int,
        session_id: str | UUID,
        *,
        command_type: str,
        payload: Payload,
        idempotency_key: str | None = None,
    ) -> SessionCommand:
        """The new command, or the one that stands for this request; the bus has its event. Raises SessionRefused."""
        user, sid = str(user_id), str(session_id)
        with metrics.SESSION_LATENCY.time():
            with self._errors.handling(sid, user):
                log_points.command_received(sid, user, command_type, has_key=idempotency_key is not None)
                request = SessionRequest.of(
                    tenant=self._tenant,
                    user_id=user,
                    session_id=sid,
                    command_type=command_type,
                    payload=payload,
                    idempotency_key=idempotency_key,
                )
                session = await self._access.verify_session_access(self._tenant, user, request.session_id)
            if self._admit is not None:
                await self._admit(request)
            with self._errors.handling(sid, user):
                enqueued = await self._rounds.create(request, session)
                self._note(request, enqueued)
                await self._events.ensure(enqueued.entries, enqueued.command_id)
                return await self._read(request.session_id, enqueued.command_id)

    async def pending(self, user_id: str | int, session_id: str | UUID) -> SessionCommand | None:
        """The command of the session that has not ended; there is never more than one. Raises SessionRefused."""
        user, sid = str(user_id), str(session_id)
        with self._errors.handling(sid, user):
            sid = check_uuid(sid, "session_id")
            session = await self._access.verify_session_access(self._tenant, user, sid)
            if session.newest_command_id is None:
                return None
            view = await self._store.command(self._tenant, session.newest_command_id)
            return None if view is None or view.state in TERMINAL else SessionCommand.of(view)

    async def command(self, user_id: str | int, session_id: str | UUID, command_id: str) -> SessionCommand:
        """One command of the session, ended or not. Raises SessionRefused."""
        user, sid = str(user_id), str(session_id)
        with self._errors.handling(sid, user):
            sid = check_uuid(sid, "session_id")
            await self._access.verify_session_access(self._tenant, user, sid)
            return await self._read(sid, check_uuid(command_id, "command_id"))

    def _note(self, request: SessionRequest, enqueued: Enqueued) -> None:
        """Logs and counts what the act decided. Raises IdempotencyConflict, SessionConflict."""
        match enqueued.standing:
            case Standing.CONFLICT:
                raise IdempotencyConflict("idempotency_key: was used before", field="idempotency_key")
            case Standing.GONE:
                raise SessionConflict("session_id: the session ended meanwhile", field="session_id")
            case Standing.NEW:
                metrics.SESSION_IDEMPOTENCY.labels("none").inc()
                log_points.idempotency_check(request.session_id, None, None)
                log_points.command_created(request.session_id, enqueued.command_id, request.command_type)
                self._events.note(enqueued.entries)
                log_points.round_created(request.session_id, enqueued.command_id, enqueued.round)
            case Standing.KEY | Standing.PENDING as hit:
                metrics.SESSION_IDEMPOTENCY.labels(hit).inc()
                log_points.idempotency_check(request.session_id, hit, enqueued.command_id)

    async def _read(self, session_id: str, command_id: str) -> SessionCommand:
        view = await self._store.command(self._tenant, command_id)
        if view is None or view.session_id != session_id:
            raise SessionNotFound("command_id: no such command in this session", field="command_id")
        return SessionCommand.of(view)


def _failure(refused: SessionRefused) -> dict[str, Any]:
    return {"success": False, "error": refused.message, "code": refused.code, "status": refused.status}
