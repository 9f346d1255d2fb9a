"""After the storm: waits until everything is terminal, then asks the API, the feed and the oracle what is true."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from quarterdeck.contracts import streams
from quarterdeck.contracts.states import TERMINAL, CommandState
from quarterdeck.testing.checker import CommandSeen, Evidence, FeedEnd, StreamClaim, compare
from quarterdeck.testing.oracle import Oracle
from tests.chaos.client import Client, Order
from tests.chaos.feed import Feed
from tests.chaos.processes import command_markers

_AT_ONCE: Final = 6
_LOOK_EVERY_S: Final = 0.5
_GIVE_UP_S: Final = 60.0
"""On one question, in a system that should be at rest."""

T = TypeVar("T")
R = TypeVar("R")


class Gathered(msgspec.Struct, kw_only=True):
    """What the API says after the quiet phase."""

    commands: dict[str, CommandSeen] = msgspec.field(default_factory=dict)
    missing_children: list[str] = msgspec.field(default_factory=list)


async def quiet(client: Client, orders: list[Order], *, within_s: float) -> list[str]:
    """Waits until the API shows every order as ended. Returns the ids that are not after `within_s`."""
    pending = [order for order in orders if order.answered_id is not None]
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while pending and loop.time() < deadline_s:
        ended = await _each(pending, lambda order: _has_ended(client, order), deadline_s - loop.time())
        pending = [order for order, has_ended in zip(pending, ended, strict=True) if not has_ended]
        if pending:
            await asyncio.sleep(_LOOK_EVERY_S)
    return [order.answered_id for order in pending if order.answered_id is not None]


async def gather(client: Client, orders: list[Order]) -> Gathered:
    """Every command of every answered order, with its output."""
    gathered = Gathered()
    wanted: list[tuple[str, Order]] = []
    answered = [order for order in orders if order.answered_id is not None]
    listed = await _each(answered, lambda order: _children(client, order))
    for order, found in zip(answered, listed, strict=True):
        children = found or []
        if len(set(children)) != len(order.targets):
            gathered.missing_children.append(
                f"{order.answered_id}: shows {len(set(children))} of {len(order.targets)} commands"
            )
        wanted.extend((command_id, order) for command_id in children)
    looks = await _each(wanted, lambda item: _look(client, *item))
    for (command_id, order), seen in zip(wanted, looks, strict=True):
        gathered.commands[command_id] = seen or CommandSeen(
            command_id=command_id, script=order.script, state=None, reason="the API never answered"
        )
    return gathered


async def evidence(
    gathered: Gathered, orders: list[Order], oracle: Oracle, feed: Feed, *, settle_s: float = 10
) -> Evidence:
    """With what the streams hold, once every command has its end there (or never will)."""
    ends: list[FeedEnd] = []
    state_ends: list[FeedEnd] = []
    for _ in range(int(settle_s / _LOOK_EVERY_S)):
        ends, state_ends = await feed.ends(), await feed.ends(streams.STATE)
        in_both = {end.command_id for end in ends} & {end.command_id for end in state_ends}
        if in_both >= gathered.commands.keys():
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    starts = oracle.starts()
    return Evidence(
        orders=[order.as_evidence() for order in orders],
        commands=gathered.commands,
        missing_children=gathered.missing_children,
        starts=starts,
        feed_ends=ends,
        state_ends=state_ends,
        survivors=_survivors(gathered.commands),
    )


def _survivors(commands: Iterable[str]) -> list[str]:
    ours = set(commands)
    return [marker for marker in command_markers() if marker.rpartition(".")[0] in ours]


async def _has_ended(client: Client, order: Order) -> bool:
    if order.is_batch:
        answer = await client.get(f"/api/batch_commands/{order.answered_id}", limit=0)
        if answer.status_code != 200:
            return False
        return answer.json()["overall_status"] not in {"PENDING", "IN_PROGRESS", "TERMINATING"}
    answer = await client.get(f"/api/command/{order.answered_id}")
    return answer.status_code == 200 and CommandState(answer.json()["command"]["state"]) in TERMINAL


async def _children(client: Client, order: Order) -> list[str]:
    if not order.is_batch:
        return [str(order.answered_id)]
    answer = await client.get(f"/api/batch_commands/{order.answered_id}")
    if answer.status_code != 200:
        return []
    return [task["child_command_id"] for task in answer.json()["tasks"]]


async def _look(client: Client, command_id: str, order: Order) -> CommandSeen:
    answer = await client.get(f"/api/command/{command_id}")
    if answer.status_code != 200:
        return CommandSeen(command_id=command_id, script=order.script, state=None)
    about: dict[str, Any] = answer.json()["command"]
    output = await client.get(f"/api/command/{command_id}/output", stream="stdout")
    attempt = about.get("attempt", 1)
    return CommandSeen(
        command_id=command_id,
        script=order.script,
        state=CommandState(about["state"]),
        agent_id=about["client_id"],
        batch_id=about.get("batch_id"),
        reason=about.get("reason", ""),
        attempt=attempt,
        max_attempts=order.max_attempts,
        exit_code=about.get("exit_code"),
        signal=about.get("signal"),
        has_started=about.get("started_at") is not None,
        completed_at_ms=_ms(about.get("completed_at")),
        claim=_claim(about.get("stdout")),
        printed=compare(output.content, order.script.stdout(attempt)) if output.status_code == 200 else None,
        unstarted_since_ms=order.unstarted_since_ms.get(command_id),
    )


def _claim(stdout: dict[str, Any] | None) -> StreamClaim | None:
    if stdout is None:
        return None
    return StreamClaim(
        length=stdout["bytes"],
        sha256=stdout.get("sha256", ""),
        verified=stdout.get("verified", False),
        truncated_bytes=stdout.get("truncated_bytes", 0),
    )


def _ms(text: str | None) -> int | None:
    return None if text is None else int(dt.datetime.fromisoformat(text).timestamp() * 1000)


async def _each(
    items: list[T], work: Callable[[T], Awaitable[R]], within_s: float = _GIVE_UP_S
) -> list[R | None]:
    """`work` for all, a few at once. None for those that were not done in time."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> R | None:
        async with limit:
            try:
                async with asyncio.timeout(within_s):
                    return await work(item)
            except TimeoutError:
                return None

    return await asyncio.gather(*(one(item) for item in items))
