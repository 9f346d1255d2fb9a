"""Which commands and batches somebody approved, as the registry tells; and which of them the next sweep should look at.

Owns the dropping of approvals that nobody can need any more. The api writes them; here they are read from memory.
"""

from typing import Final

from quarterdeck.contracts.limits import DEPENDENCY_WAIT_MS
from quarterdeck.contracts.orders import WakeRequest
from quarterdeck.contracts.policies import Approval, CommandPolicy
from quarterdeck.core.clock import Clock
from quarterdeck.core.registry import Registry
from quarterdeck.core.registry.keys import approval_key
from quarterdeck.core.registry.table import Entry

_KEPT_MS: Final = DEPENDENCY_WAIT_MS + 24 * 3600 * 1000
"""Longer than anything waits for its approval."""


class Approvals:
    """`registry`: its policies must be watched for approvals to be seen."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._table = registry.policies
        self._clock = clock
        self._fresh: list[Approval] = []
        self._table.on_change(self._changed)

    def has(self, dependant: WakeRequest) -> bool:
        subject_id = dependant.batch_id or dependant.command_id or ""
        return approval_key(dependant.tenant, subject_id) in self._table.current

    def take_fresh(self) -> list[WakeRequest]:
        """Those that came since the last call; one request each for a command and for a batch of that id."""
        fresh, self._fresh = self._fresh, []
        return [
            request
            for approval in fresh
            for request in (
                WakeRequest(tenant=approval.tenant, command_id=approval.subject_id),
                WakeRequest(tenant=approval.tenant, batch_id=approval.subject_id),
            )
        ]

    async def forget_old(self) -> None:
        """Raises Unavailable."""
        until_ms = self._clock.now_ms() - _KEPT_MS
        for key, entry in list(self._table.current.items()):
            if isinstance(entry.value, Approval) and entry.value.at_ms < until_ms:
                await self._table.delete(key)

    def _changed(self, _key: str, entry: Entry[CommandPolicy | Approval] | None) -> None:
        if entry is not None and isinstance(entry.value, Approval):
            self._fresh.append(entry.value)
