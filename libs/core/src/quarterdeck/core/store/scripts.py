"""The scripts' full text: generated tables first, then the shared prelude, then the script of one act.

The tables come from contracts/states.py, so Python and Lua cannot disagree about what is legal.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from quarterdeck.contracts import limits, sessions, states
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.store import keys

HIDDEN: Final = frozenset(
    {
        "stdout_tail",
        "stderr_tail",
        "deadline_at_ms",
        "deliver_by_ms",
        "run_limit_ms",
        "overtime_ms",
        "unproved",
        "max_attempts",
        "backoff_ms",
        "spec",
        "user_id",
        "tenant",
        "batch_id",
        "command_type",
        "created_at_ms",
    }
)
"""Hash fields that no event tells: bulk, or the scheduler's own."""

ALSO_AT_THE_END: Final = ("via", "gateway_id", "epoch", "last_output_at_ms")
"""Hash fields that come about without an event, too; the event of the end tells them."""

OF_ONE_ATTEMPT: Final = (
    "sent_at_ms",
    "accepted_at_ms",
    "started_at_ms",
    "completed_at_ms",
    "last_output_at_ms",
    "gateway_id",
    "epoch",
    "via",
    "unproved",
    "exit_code",
    "signal",
    "result",
    "error",
    "reason",
    *(
        f"{stream}_{what}"
        for stream in ("stdout", "stderr")
        for what in ("bytes", "sha256", "truncated", "tail", "verified", "lost")
    ),
)
"""Hash fields that a new attempt starts without."""

LOOK_MS: Final[dict[CommandState, int]] = {
    CommandState.PENDING: 1_000,
    CommandState.SENT: limits.SETTLE_MS,
    CommandState.TERMINATING: 2_000,
}
"""When to look again at a command that nothing was heard of. Others rest until their deadline."""


BATCH_RANK: Final[dict[BatchState, int]] = {
    BatchState.PENDING: 0,
    BatchState.IN_PROGRESS: 1,
    BatchState.TERMINATING: 2,
    **dict.fromkeys(states.BATCH_TERMINAL, 3),
}


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long what ended is kept, in seconds."""

    command_ttl_s: int = 30 * 60
    batch_ttl_s: int = 7 * 24 * 3600
    idempotency_ttl_s: int = 24 * 3600
    """Also of a session's commands, which are what their keys answer with."""
    session_ttl_s: int = 7 * 24 * 3600
    """After the end of a session's last command."""


class Script(msgspec.Struct, frozen=True):
    name: str
    text: str
    sha: str


NAMES: Final = (
    "create_command",
    "create_batch",
    "create_session",
    "enqueue",
    "read_session",
    "expand",
    "apply",
    "amend",
    "hand_over",
    "terminate_batch",
    "take_due",
    "give_up",
    "take_waiting",
    "await_ends",
    "lose_output",
    "sweep_indexes",
    "read_commands",
    "list_ids",
)

OF_REBUILD: Final = ("restore_commands", "restore_batches", "restore_sessions", "open_shard")
"""Scripts that write shards which are shut to all others."""

PLAIN: Final = ("shut_if_moved", "lease_shard", "advance_horizon")
"""Scripts that know keys and nothing else."""


@cache
def load(lifetimes: Lifetimes) -> dict[str, Script]:
    """All scripts by name. A script's sha is what EVALSHA wants."""
    folder = files("quarterdeck.core.store") / "lua"

    def read(name: str) -> str:
        return (folder / f"{name}.lua").read_text()

    plain = f"local P = KEYS[1]\n{keys.lua_functions()}"
    machine = "\n".join([_tables(lifetimes), read("prelude")])
    heads = {
        **dict.fromkeys(NAMES, f"{plain}\n{read('fence')}\n{machine}"),
        **dict.fromkeys(OF_REBUILD, f"{plain}\n{read('fence_rebuild')}\n{machine}"),
        **dict.fromkeys(PLAIN, plain),
    }
    scripts = {}
    for name, head in heads.items():
        text = f"{head}\n{read(name)}"
        scripts[name] = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return scripts


def _tables(lifetimes: Lifetimes) -> str:
    legal = ", ".join(f"{state} = {_set(targets)}" for state, targets in states.LEGAL.items())
    return "\n".join(
        [
            f"local RANK = {_map(states.RANK)}",
            f"local LEGAL = {{{legal}}}",
            f"local TERMINAL = {_set(states.TERMINAL)}",
            f"local BATCH_TERMINAL = {_set(states.BATCH_TERMINAL)}",
            f"local BATCH_RANK = {_map(BATCH_RANK)}",
            f"local RETRYABLE = {_set(states.RETRYABLE)}",
            f"local NEVER_RAN = {_set(states.NEVER_RAN)}",
            f"local EVENT_OF = {_map({state: repr(name) for state, name in states.EVENT_OF.items()})}",
            f"local HIDDEN = {_set(HIDDEN)}",
            f"local OF_ONE_ATTEMPT = {{{', '.join(map(repr, OF_ONE_ATTEMPT))}}}",
            f"local ALSO_AT_THE_END = {{{', '.join(map(repr, ALSO_AT_THE_END))}}}",
            f"local LOOK_MS = {_map(LOOK_MS)}",
            f"local COMMAND_TTL_S = {lifetimes.command_ttl_s}",
            f"local BATCH_TTL_S = {lifetimes.batch_ttl_s}",
            f"local IDEMPOTENCY_TTL_S = {lifetimes.idempotency_ttl_s}",
            f"local SESSION_TTL_S = {lifetimes.session_ttl_s}",
            f"local ANY_AGENT = {sessions.ANY_AGENT!r}",
        ]
    )


def _set(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"{name} = true" for name in sorted(names)) + "}"


def _map(pairs: Mapping[Any, int] | Mapping[Any, str]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in pairs.items()) + "}"
