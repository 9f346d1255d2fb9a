"""Every Redis key, for Python and for the scripts, from one table.

All keys of a shard share the hash tag `{sNN}`, so a command, its batch, its outbox and its indexes live in one slot and
one script may touch them all, on a single server as on Redis Cluster.
"""

from typing import Final

from quarterdeck.contracts.ids import SHARDS

_PATTERNS: Final[dict[str, tuple[str, ...]]] = {
    # name: literal pieces; an argument goes between each two
    "incarnation": ("incarnation",),
    "run": ("run",),
    "floor": ("floor",),
    "horizon": ("horizon",),
    "latecomers": ("latecomers",),
    "lease": ("lease",),
    "outbox": ("outbox",),
    "attention": ("attention",),
    "expiry": ("expiry",),
    "waiting": ("waiting",),
    "unborn": ("unborn",),
    "command": ("command:", ""),
    "batch": ("batch:", ""),
    "session": ("session:", ""),
    "rounds": ("rounds:", ""),
    "counts": ("counts:", ""),
    "idempotency": ("idempotency:", ""),
    "at_end": ("at_end:", ""),
    "answer": ("answer:", ""),
    "index_commands": ("index:", ":commands"),
    "index_batches": ("index:", ":batches"),
    "index_agent": ("index:", ":agent:", ""),
    "index_state": ("index:", ":state:", ""),
}


def prefix(shard: int) -> str:
    """What every key of a shard starts with; the scripts' only KEYS argument. `shard`: 0–63."""
    return f"qd:{{s{shard:02d}}}:"


def key(shard: int, name: str, *arguments: str) -> str:
    """The key `name` of the table above."""
    pieces = _PATTERNS[name]
    if len(arguments) != len(pieces) - 1:
        raise TypeError(f"key {name} takes {len(pieces) - 1} arguments")
    text = pieces[0] + "".join(value + piece for value, piece in zip(arguments, pieces[1:], strict=True))
    return prefix(shard) + text


def rate_window(name: str, window: str) -> str:
    """A window of a rate limit. Of no shard: windows of one `name` share a slot, and nothing misses them."""
    return f"qd:rate:{{{name}}}:{window}"


EVERY_KEY: Final = "qd:{s*"
"""A pattern for SCAN."""
EVERY_BATCH_INDEX: Final = "qd:{s*}:index:*:batches"
"""A pattern for SCAN."""
PREFIX_WIDTH: Final = len(prefix(0))
"""Characters of a key that say whose shard it is."""


def all_shards() -> range:
    return range(SHARDS)


def lua_functions() -> str:
    """The same table as Lua functions `key_<name>(a, b)`, over the prefix in the local `P`."""
    lines = []
    for name, pieces in _PATTERNS.items():
        names = [chr(ord("a") + index) for index in range(len(pieces) - 1)]
        body = f"P .. {pieces[0]!r}" + "".join(
            f" .. {letter}" + (f" .. {piece!r}" if piece else "")
            for letter, piece in zip(names, pieces[1:], strict=True)
        )
        lines.append(f"local function key_{name}({', '.join(names)}) return {body} end")
    return "\n".join(lines)
