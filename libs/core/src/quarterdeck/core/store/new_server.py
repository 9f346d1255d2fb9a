"""Nobody works with a Redis whose state may lack its last writes: each new connection first looks whose it is.

A server that was restarted may have lost what its append-only file had not seen, and a replica that was promoted what
it had not received. Both end the connections of before, so a look at the start of each is never too late. The shards
remember the run on which their state was last found whole; on any other they are shut until a rebuild has caught up.
Called by redis-py for ScriptRunner; the dispatcher looks again each second, for connections that outlive a failover.
Why so: docs/adr/0008-state-is-rebuilt-from-its-events.md.
"""

from functools import cache
from typing import Any, Final, Protocol

from quarterdeck.core.store import keys
from quarterdeck.core.store.scripts import Lifetimes, Script, load

_FACTS: Final = ("run_id", "master_replid")


class Connection(Protocol):
    """What we use of redis-py's."""

    async def on_connect(self) -> None: ...

    async def send_command(self, *words: Any) -> None: ...

    async def send_packed_command(self, command: Any) -> None: ...

    def pack_commands(self, commands: Any) -> Any: ...

    async def read_response(self) -> Any: ...


async def shut_if_moved(connection: Connection) -> None:
    """Shuts every shard that was last found whole on another run. Raises RedisError; then there is no connection."""
    await connection.on_connect()
    server, replication = await _ask(connection, [("INFO", "server"), ("INFO", "replication")])
    run, script = run_of(server, replication), shutting()
    words = [("EVALSHA", script.sha, 1, keys.prefix(shard), run) for shard in keys.all_shards()]
    await _ask(connection, [("SCRIPT LOAD", script.text), *words])


def run_of(server: Any, replication: Any) -> str:
    """From the texts of INFO's two sections, or the dicts that redis-py makes of them."""
    facts = {**_parsed(server), **_parsed(replication)}
    return ":".join(str(facts.get(name, "")) for name in _FACTS)


@cache
def shutting() -> Script:
    return load(Lifetimes())["shut_if_moved"]


async def _ask(connection: Connection, commands: list[tuple[Any, ...]]) -> list[Any]:
    """Raises the first error that is an answer; the connection is given up then."""
    await connection.send_packed_command(connection.pack_commands([_words(command) for command in commands]))
    return [await connection.read_response() for _ in commands]


def _words(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """`SCRIPT LOAD` is two words on the wire."""
    return (*command[0].split(), *command[1:])


def _parsed(section: Any) -> dict[str, Any]:
    if isinstance(section, dict):
        return section
    text = section.decode() if isinstance(section, bytes) else section
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
