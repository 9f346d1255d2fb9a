"""How connections of a dialect become links of the gateway. Made by the services, one per dialect."""

from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.foreign.dialect import Dialect
from quarterdeck.gateway.foreign.link import ForeignLink
from quarterdeck.gateway.link import LinkParts


class ForeignReception:
    """Connections of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    async def open(self, connection: Connection, parts: LinkParts) -> ForeignLink:
        """Raises LinkRefused, ConnectionLost, DecodeError, Unavailable."""
        conversation = await self._dialect.open(connection)
        return ForeignLink(parts, connection, conversation, self._dialect.name)

    async def refuse(self, connection: Connection, reason: str, text: str) -> None:
        """The dialect has said it, in its own words."""
