"""Which command answered a query last, so that its answer may be given again. A memory, not a record: it may be lost.

Owns no answers: those are the commands' own results. Called by the api for types that a policy declares cacheable.
"""

import hashlib

import msgspec

from quarterdeck.contracts.ids import shard_for
from quarterdeck.contracts.json_text import canonical_json
from quarterdeck.core.store import keys
from quarterdeck.core.store.shapes import NewCommand
from quarterdeck.core.store.store import Store


def query_of(new: NewCommand) -> str:
    """What makes two commands the same question: SHA-256 hex over everything that may change the answer."""
    spec = new.spec
    payload = canonical_json(spec.payload, "payload")
    parts = [
        new.tenant,
        new.agent_id,
        new.guest,
        spec.command_type,
        spec.working_directory,
        sorted(spec.env.items()),
    ]
    return hashlib.sha256(msgspec.json.encode(parts) + payload).hexdigest()


class Answers:
    def __init__(self, store: Store) -> None:
        self._runner = store.runner

    async def last(self, query: str) -> str | None:
        """The command that was asked last. Raises Unavailable."""
        found = (await self._runner.plain([("GET", _key(query))]))[0]
        return None if found is None else str(found.decode())

    async def remember(self, query: str, command_id: str, ttl_s: int) -> None:
        """Raises Unavailable."""
        await self._runner.plain([("SET", _key(query), command_id, "EX", ttl_s)])


def _key(query: str) -> str:
    return keys.key(shard_for(query), "answer", query)
