"""Children that no event mentions: pending, as far as anybody was told. They must exist to be looked at."""

from collections.abc import Sequence
from typing import Final

import msgspec

from quarterdeck.contracts.ids import child_id, parse_target
from quarterdeck.contracts.limits import CHUNK_TARGETS
from quarterdeck.core.rebuild.restore import Inheritance
from quarterdeck.core.store import Store
from quarterdeck.core.store.restoring import CommandStory

_targets: Final = msgspec.msgpack.Decoder(tuple[str, ...])


async def create_missing(store: Store, token: str, batch_ids: Sequence[str]) -> int:
    """Creates them for each of `batch_ids`, none of which has ended; answers how many. Raises Unavailable.

    A dispatch message that is still queued finds them pending and sends them; otherwise the next look does. Those of a
    batch that is being stopped are looked at when they are stopped.
    """
    created = 0
    for batch_id in batch_ids:
        parts = (await store.batch_parts([batch_id])).get(batch_id)
        if parts is None:
            continue
        targets = _targets.decode(parts["targets"])
        inherited = Inheritance.of(batch_id, dict(parts))
        for start in range(0, len(targets), CHUNK_TARGETS):
            chunk = {
                child_id(batch_id, index): targets[index]
                for index in range(start, min(start + CHUNK_TARGETS, len(targets)))
            }
            absent = await store.absent_commands(list(chunk))
            stories = [
                _unmentioned(one, parts["tenant"].decode(), batch_id, chunk[one], inherited)
                for one in chunk
                if one in absent
            ]
            await store.restore_commands(token, stories)
            created += len(stories)
    return created


def _unmentioned(
    command_id: str, tenant: str, batch_id: str, target: str, inherited: Inheritance
) -> CommandStory:
    agent_id, guest = parse_target(target, "targets")
    return CommandStory(
        command_id=command_id,
        tenant=tenant,
        batch_id=batch_id,
        agent_id=agent_id,
        guest=guest,
        version=1,
        attempt=1,
        state=None,
        fields={},
        birth=dict(inherited.fields),
    )
