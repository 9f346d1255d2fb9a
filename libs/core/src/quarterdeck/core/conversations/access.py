"""May this user work with this session? The one place that decides it."""

from quarterdeck.core.conversations import log_points
from quarterdeck.core.conversations.errors import SessionAccessDenied, SessionNotFound
from quarterdeck.core.store import SessionView, Store


class ConversationAccessControl:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def verify_session_access(self, tenant: str, user_id: str, session_id: str) -> SessionView:
        """The session. Raises SessionNotFound, SessionAccessDenied, Unavailable.

        Another tenant's session is one that does not exist; another user's is told apart, as the document does.
        """
        session = await self._store.session(tenant, session_id)
        granted = session is not None and session.owner == user_id
        log_points.access_verification(session_id, user_id, granted=granted)
        if session is None:
            raise SessionNotFound("session_id: no such session", field="session_id")
        if not granted:
            raise SessionAccessDenied("session_id: this session belongs to somebody else", field="session_id")
        return session
