"""Commands as something to save, load and list: seed 0's CommandStore, for programs that embed Quarterdeck.

Owns no state: it is three verbs over the store and its outbox, for one tenant. What a saved command goes through
afterwards is the services' matter; the api has intake.py, which also asks for limits and policies.
"""

from collections.abc import Sequence
from typing import Protocol

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import CommandView, NewCommand, Store


class CommandStore(Protocol):
    """Source: S0-38. Every method raises Unavailable."""

    async def save(self, command: NewCommand) -> str:
        """Its id; of an earlier one when its idempotency key is known."""
        ...

    async def load(self, command_id: str) -> CommandView | None:
        """None when there is no such command, or it is past its history."""
        ...

    async def list(
        self, *, agent_id: str | None = None, states: Sequence[CommandState] = (), limit: int = 100
    ) -> Sequence[CommandView]:
        """Newest first; filters may be combined."""
        ...


class TenantCommands:
    """A CommandStore over Redis: what is saved survives restarts, and is told and dispatched as any other command."""

    def __init__(self, store: Store, relay: Relay, tenant: str) -> None:
        self._store = store
        self._relay = relay
        self._tenant = tenant

    async def save(self, command: NewCommand) -> str:
        """Returns when the bus has its messages. Raises IdempotencyConflict, InvalidInput, NotConfirmed too."""
        if command.tenant != self._tenant:
            raise InvalidInput(f"tenant: expected {self._tenant}", field="tenant", value=command.tenant)
        written = await self._store.create_command(command)
        await self._relay.publish(written.entries, subject_id=command.command_id)
        return written.existing_id or command.command_id

    async def load(self, command_id: str) -> CommandView | None:
        return await self._store.command(self._tenant, command_id)

    async def list(
        self, *, agent_id: str | None = None, states: Sequence[CommandState] = (), limit: int = 100
    ) -> Sequence[CommandView]:
        page = await self._store.list_commands(self._tenant, agent_id=agent_id, states=states, limit=limit)
        return await self._store.commands(self._tenant, page.ids)
