"""Asking for an end: of a command, of a child of a batch, of a whole batch. Asking twice is asking once.

Owns the order of script and publish. Called by the api's terminate routes and by the broadcaster's WebSocket.
"""

from typing import Final

import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import Lane
from quarterdeck.contracts.errors import NotFound, Unavailable
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.orders import TerminateRequest
from quarterdeck.contracts.states import BATCH_TERMINAL, TERMINAL, BatchState, CommandState
from quarterdeck.core.accounting import count_stopped
from quarterdeck.core.clock import Clock
from quarterdeck.core.outbox import Relay
from quarterdeck.core.store import BatchView, Child, CommandView, Move, RawEntry, Store, Verdict

log = structlog.get_logger()

_TRIES: Final = 5
"""A retry policy may start the next attempt between our look and our move; not this often."""


class Halts:
    def __init__(self, store: Store, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock

    async def command(self, tenant: str, view: CommandView) -> CommandState:
        """Asks for the end of what `view` shows; answers its state afterwards.

        Raises NotFound, NotConfirmed, Unavailable.
        """
        attempt, state = view.attempt, view.state
        for _ in range(_TRIES):
            if state in TERMINAL or state is CommandState.TERMINATING:
                return state
            move = Move(view.command_id, attempt, CommandState.TERMINATING, self._clock.now_ms())
            written = await self._store.apply([move], [_stop_command(tenant, view.command_id, attempt)])
            await self._relay.publish(written.entries, subject_id=view.command_id)
            count_stopped(written.outcomes, move.at_ms)
            outcome = written.outcomes[0]
            if outcome.state is None:
                raise NotFound("no such command", field="command_id")
            if outcome.verdict is Verdict.APPLIED:
                log.info("halts.command_stop_requested", command_id=view.command_id)
                return outcome.state
            attempt, state = outcome.attempt, outcome.state
        raise Unavailable(f"{view.command_id} kept changing")

    async def child(self, batch: BatchView, command_id: str) -> CommandState:
        """As `command`, for a child that may not have come into being yet. Raises NotFound for another batch's."""
        view = await self._store.command(batch.tenant, command_id)
        if view is not None and view.batch_id == batch.batch_id:
            return await self.command(batch.tenant, view)
        index = next(
            (i for i in range(len(batch.targets)) if child_id(batch.batch_id, i) == command_id), None
        )
        if view is not None or index is None or batch.state in BATCH_TERMINAL:
            raise NotFound("the batch has no such task", field="child_command_id")
        agent_id, _, guest = batch.targets[index].partition("/")
        # Created as ended, so that the chunk that would create it finds it and sends nothing.
        child = Child(command_id, agent_id, guest or None, CommandState.TERMINATING)
        written = await self._store.expand(
            tenant=batch.tenant,
            user_id=batch.user_id,
            batch_id=batch.batch_id,
            spec=batch.spec,
            created_at_ms=batch.created_at_ms,
            at_ms=self._clock.now_ms(),
            children=[child],
        )
        await self._relay.publish(written.entries, subject_id=command_id)
        count_stopped(written.outcomes, self._clock.now_ms())
        outcome = written.outcomes[0]
        if outcome.verdict is Verdict.EXISTS:  # its chunk was quicker
            return await self.child(batch, command_id)
        return outcome.state or CommandState.TERMINATED

    async def batch(self, tenant: str, batch_id: str) -> BatchState:
        """Asks for the end of all unfinished children. Raises NotFound, NotConfirmed, Unavailable."""
        written = await self._store.terminate_batch(tenant, batch_id, [_stop_batch(tenant, batch_id)])
        if written.batch_state is None:
            raise NotFound("no such batch", field="batch_command_id")
        await self._relay.publish(written.entries, subject_id=batch_id)
        log.info("halts.batch_stop_requested", batch_id=batch_id)
        return written.batch_state


def _stop_command(tenant: str, command_id: str, attempt: int) -> RawEntry:
    """Takes the urgent lane: a stop must not queue behind what it stops."""
    message = TerminateRequest(tenant=tenant, command_id=command_id)
    return RawEntry(
        subjects.command(tenant, Lane.URGENT), f"{command_id}-terminate-{attempt}", codec.encode(message)
    )


def _stop_batch(tenant: str, batch_id: str) -> RawEntry:
    message = TerminateRequest(tenant=tenant, batch_id=batch_id)
    return RawEntry(subjects.command(tenant, Lane.URGENT), f"{batch_id}-terminate", codec.encode(message))
