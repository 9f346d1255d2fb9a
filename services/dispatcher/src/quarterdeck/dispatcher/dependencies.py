"""What holds a command back: others that must succeed first, an approval. And who is woken when that changes.

Keeps nothing but what the registry's watch tells of approvals. A dependency that has not ended carries the message that
wakes those who wait for it, and tells it in the act of its end; and whoever waits looks again now and then, so that a
message that was lost costs seconds and no more.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import structlog

from quarterdeck.contracts import codec, subjects
from quarterdeck.contracts.commands import CommandSpec, Lane
from quarterdeck.contracts.ids import child_id
from quarterdeck.contracts.limits import CHUNK_TARGETS, DEPENDENCY_WAIT_MS, SETTLE_MS
from quarterdeck.contracts.orders import WakeRequest
from quarterdeck.contracts.states import BATCH_TERMINAL, TERMINAL, BatchState, CommandState
from quarterdeck.core.clock import Clock
from quarterdeck.core.store import Due, RawEntry, Store
from quarterdeck.dispatcher.approvals import Approvals
from quarterdeck.dispatcher.handlers import Decision, Envelope

log = structlog.get_logger()

WAITS_FOR_OTHERS: Final = "dependencies"
WAITS_FOR_APPROVAL: Final = "needs_approval"
"""Reasons of commands that wait; also known to restore_commands.lua."""
_FAILED: Final = "dependency_failed"
_SUCCESS: Final = frozenset({CommandState.SUCCEEDED, BatchState.COMPLETED_SUCCESSFULLY})
_ENDS: Final = TERMINAL | BATCH_TERMINAL


class Standing(msgspec.Struct, frozen=True):
    """Nothing holds it back (the default), it waits for something, or a dependency will never succeed."""

    waits_for: str = ""
    """The reason to show."""
    failed: str = ""
    """Names the dependency and how it ended."""


MET: Final = Standing()


class Dependencies:
    """`approvals`: of the registry; watched by whoever wants approvals to count."""

    def __init__(self, store: Store, clock: Clock, approvals: Approvals) -> None:
        self._store = store
        self._clock = clock
        self._approvals = approvals

    async def standing(self, spec: CommandSpec, dependants: Sequence[WakeRequest]) -> Standing:
        """`dependants`: of one tenant; they are woken when a dependency ends. Raises Unavailable."""
        if spec.depends_on:
            standing = await self._of_dependencies(spec, dependants)
            if standing is not MET:
                return standing
        if spec.needs_approval and not all(self._approvals.has(dependant) for dependant in dependants):
            return Standing(waits_for=WAITS_FOR_APPROVAL)
        return MET

    async def _of_dependencies(self, spec: CommandSpec, dependants: Sequence[WakeRequest]) -> Standing:
        messages = [_wake_message(dependant) for dependant in dependants]
        states = await self._store.await_ends(dependants[0].tenant, spec.depends_on, messages)
        return standing_of(spec.depends_on, states)

    async def of_due(self, due: Sequence[Due], specs: dict[str, CommandSpec]) -> dict[str, Standing]:
        """By command id, for the first attempts among `due`; later ones have met theirs. Raises Unavailable."""
        groups: dict[WakeRequest, list[Due]] = {}
        for one in due:
            if specs[one.command_id].held and one.attempt == 1:
                groups.setdefault(dependant(one, one.command_id), []).append(one)
        standings = await asyncio.gather(
            *(self.standing(specs[some[0].command_id], [who]) for who, some in groups.items())
        )
        return {
            one.command_id: standing
            for some, standing in zip(groups.values(), standings, strict=True)
            for one in some
        }

    async def wake_approved(self) -> None:
        """As `wake`, for what was approved since the last call. Raises Unavailable."""
        await self.wake(self._approvals.take_fresh())

    async def wake(self, requests: Iterable[WakeRequest]) -> None:
        """The next sweep looks at these. Raises Unavailable."""
        for request in requests:
            command_ids = [request.command_id] if request.command_id is not None else []
            if request.batch_id is not None:
                batch = await self._store.batch(request.tenant, request.batch_id)
                targets = range(0 if batch is None else len(batch.targets))
                command_ids = [child_id(request.batch_id, index) for index in targets]
            log.debug("dispatcher.dependants_woken", commands=len(command_ids))
            for start in range(0, len(command_ids), CHUNK_TARGETS):
                some = command_ids[start : start + CHUNK_TARGETS]
                await self._store.look_again(some, 0, now_ms=self._clock.now_ms())


def standing_of(dependencies: Sequence[str], states: Sequence[CommandState | BatchState | None]) -> Standing:
    """`states`: of the dependencies, in their order; None: forgotten, so nobody can say that it succeeded."""
    still_open = False
    for dependency, state in zip(dependencies, states, strict=True):
        if state is None:
            return Standing(failed=f"{dependency} is no longer known")
        if state in _ENDS and state not in _SUCCESS:
            return Standing(failed=f"{dependency}: {state}")
        still_open |= state not in _SUCCESS
    return Standing(waits_for=WAITS_FOR_OTHERS) if still_open else MET


def hold(standing: Standing, spec: CommandSpec, *, created_at_ms: int, now_ms: int) -> Decision | None:
    """What to do in place of sending it; None: nothing stands in its way."""
    if standing.failed:
        fields = {
            "completed_at_ms": now_ms,
            "reason": _FAILED,
            "error": f"dependency failed: {standing.failed}",
        }
        return Decision(CommandState.SKIPPED, fields)
    if standing.waits_for:
        wait_ms = DEPENDENCY_WAIT_MS if spec.queue_for_ms is None else spec.queue_for_ms
        waiting = {"deadline_at_ms": created_at_ms + wait_ms, "reason": standing.waits_for}
        return Decision(CommandState.WAITING, waiting, SETTLE_MS)
    return None


def dependant(of: Due | Envelope, command_id: str) -> WakeRequest:
    """Who is to be woken: a batch as a whole, or a single command."""
    if of.batch_id is not None:
        return WakeRequest(tenant=of.tenant, batch_id=of.batch_id)
    return WakeRequest(tenant=of.tenant, command_id=command_id)


def _wake_message(request: WakeRequest) -> RawEntry:
    """Urgent: it is a short message, and what waits has waited."""
    who = request.batch_id or request.command_id
    return RawEntry(subjects.command(request.tenant, Lane.URGENT), f"{who}-wake", codec.encode(request))
