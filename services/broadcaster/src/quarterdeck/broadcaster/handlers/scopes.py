"""What can be watched: a command, a batch with its commands, a tenant. Each is a set of filters over QD_FEED."""

from enum import StrEnum

import msgspec

from quarterdeck.contracts import subjects
from quarterdeck.contracts.events import BATCH, COMMAND


class Kind(StrEnum):
    COMMAND = "command"
    BATCH = "batch"
    TENANT = "tenant"


class Scope(msgspec.Struct, frozen=True):
    """Hashable: the hubs are found by it."""

    kind: Kind
    tenant: str
    command_id: str | None = None
    batch_id: str | None = None
    """Of a batch scope, or the batch that a command belongs to."""

    @classmethod
    def of_command(cls, tenant: str, batch_id: str | None, command_id: str) -> "Scope":
        return cls(Kind.COMMAND, tenant, command_id, batch_id)

    @classmethod
    def of_batch(cls, tenant: str, batch_id: str) -> "Scope":
        return cls(Kind.BATCH, tenant, None, batch_id)

    @classmethod
    def of_tenant(cls, tenant: str) -> "Scope":
        return cls(Kind.TENANT, tenant)

    @property
    def filters(self) -> tuple[str, ...]:
        match self.kind, self.command_id, self.batch_id:
            case Kind.COMMAND, str(command_id), batch_id:
                return subjects.watch_command(self.tenant, batch_id, command_id)
            case Kind.BATCH, _, str(batch_id):
                return subjects.watch_batch(self.tenant, batch_id)
            case _:
                return subjects.watch_tenant(self.tenant)

    @property
    def end_subject(self) -> str | None:
        """Where the event lies that says that the scope is over; None: it never is."""
        match self.kind:
            case Kind.COMMAND:
                return subjects.event(self.tenant, self.batch_id, self.command_id, COMMAND, "completed")
            case Kind.BATCH:
                return subjects.event(self.tenant, self.batch_id, None, BATCH, "completed")
            case Kind.TENANT:
                return None
