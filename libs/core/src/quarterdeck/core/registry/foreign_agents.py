"""Agents of other protocols in the registry: a record of the agent, and what its name over there means.

Two tables hold one truth. The record comes first and goes first: a name that points to an agent which does not claim it
is a left-over of a writer that died, means nothing, and may be taken. Called by the api (an operator registers or
revokes) and by the gateways' admission (an agent is enrolled at first contact, and says what it is).
"""

import msgspec

from quarterdeck.contracts.agents import AgentIdentity, AgentRecord, Dialect
from quarterdeck.core.registry.errors import AgentIdTaken, AlreadyExists, Conflict, IdentityTaken
from quarterdeck.core.registry.keys import agent_key, identity_key
from quarterdeck.core.registry.registry import Registry
from quarterdeck.core.registry.table import Entry


class ForeignAgent(msgspec.Struct, frozen=True):
    """Whom a name means, and what must be proved to be it."""

    record: AgentRecord
    identity: AgentIdentity


class ForeignAgents:
    """Asks the server, not the memory: what was registered a moment ago counts."""

    def __init__(self, registry: Registry) -> None:
        self._agents = registry.agents
        self._tokens = registry.tokens

    async def find(self, dialect: Dialect, identity: str) -> ForeignAgent | None:
        """Revoked ones too, as long as their record claims the name. Raises Unavailable."""
        entry = await self._meaning(identity_key(dialect, identity))
        return None if entry is None else await self._claimed(entry.value)

    async def register(self, wanted: AgentRecord, secret_sha256: bytes = b"") -> AgentRecord:
        """The record as it is stored now. The same request again changes its name and its secret, nothing else.

        `wanted.aliases` has one entry. Raises AgentIdTaken (another agent has the id, and was not revoked),
        IdentityTaken (another agent has the name), Unavailable.
        """
        dialect = wanted.dialect
        identity = AgentIdentity(
            tenant=wanted.tenant,
            agent_id=wanted.agent_id,
            dialect=dialect,
            identity=wanted.aliases[dialect],
            created_at_ms=wanted.enrolled_at_ms,
            secret_sha256=secret_sha256,
        )
        await self._check_free(identity)
        stored = await self._file(wanted)
        try:
            await self._name(identity)
        except IdentityTaken:
            await self.revoke(wanted.tenant, wanted.agent_id)  # somebody else was quicker with the name
            raise
        return stored

    async def describe(self, said: AgentRecord, now_ms: int) -> AgentRecord:
        """The record, with the facts, capabilities and version of `said`; written only when they changed.

        Raises Unavailable.
        """
        key = agent_key(said.tenant, said.agent_id)
        while (entry := await self._agents.get(key)) is not None and not entry.value.revoked:
            record = msgspec.structs.replace(
                entry.value, facts=said.facts, capabilities=said.capabilities, version=said.version
            )
            if record == entry.value:
                return record
            record = msgspec.structs.replace(record, last_seen_ms=now_ms)
            try:
                await self._agents.update(key, record, entry.revision)
                return record
            except Conflict:
                continue
        return said  # revoked meanwhile: the gateway hears of it, and ends the link

    async def revoke(self, tenant: str, agent_id: str) -> AgentRecord | None:
        """The record, revoked, of an agent of any protocol; None when there is none. Any number of calls.

        Its id and its name over there may then be taken by others. Raises Unavailable.
        """
        key = agent_key(tenant, agent_id)
        while (entry := await self._agents.get(key)) is not None:
            record = msgspec.structs.replace(entry.value, revoked=True)
            try:
                if not entry.value.revoked:
                    await self._agents.update(key, record, entry.revision)
            except Conflict:
                continue
            await self._unname(record)
            return record
        return None

    async def _check_free(self, wanted: AgentIdentity) -> None:
        """Raises IdentityTaken before anything is written."""
        known = await self.find(wanted.dialect, wanted.identity)
        if known is not None and not known.record.revoked and not _same_agent(known.identity, wanted):
            raise IdentityTaken(wanted.dialect, wanted.identity)

    async def _file(self, wanted: AgentRecord) -> AgentRecord:
        key = agent_key(wanted.tenant, wanted.agent_id)
        while True:
            entry = await self._agents.get(key)
            try:
                if entry is None:
                    await self._agents.create(key, wanted)
                    return wanted
                if entry.value.revoked:
                    await self._agents.update(key, wanted, entry.revision)
                    return wanted
                if entry.value.aliases != wanted.aliases:
                    raise AgentIdTaken(wanted.agent_id)
                renamed = msgspec.structs.replace(entry.value, name=wanted.name)
                if renamed != entry.value:
                    await self._agents.update(key, renamed, entry.revision)
                return renamed
            except (AlreadyExists, Conflict):
                continue  # somebody wrote it at the same moment: look again

    async def _name(self, wanted: AgentIdentity) -> None:
        key = identity_key(wanted.dialect, wanted.identity)
        while True:
            entry = await self._meaning(key)
            try:
                if entry is None:
                    await self._tokens.create(key, wanted)
                else:
                    await self._check_free(wanted)
                    await self._tokens.update(key, wanted, entry.revision)
                return
            except (AlreadyExists, Conflict):
                continue

    async def _unname(self, record: AgentRecord) -> None:
        for dialect, identity in record.aliases.items():
            key = identity_key(Dialect(dialect), identity)
            entry = await self._meaning(key)
            if entry is None or (entry.value.tenant, entry.value.agent_id) != (
                record.tenant,
                record.agent_id,
            ):
                continue
            try:
                await self._tokens.delete(key, entry.revision)
            except Conflict:
                pass  # it means somebody else by now

    async def _meaning(self, key: str) -> Entry[AgentIdentity] | None:
        entry = await self._tokens.get(key)
        if entry is None or not isinstance(entry.value, AgentIdentity):
            return None
        return Entry(entry.value, entry.revision, entry.at_ms)

    async def _claimed(self, identity: AgentIdentity) -> ForeignAgent | None:
        entry = await self._agents.get(agent_key(identity.tenant, identity.agent_id))
        if entry is None or entry.value.aliases.get(identity.dialect) != identity.identity:
            return None
        return ForeignAgent(entry.value, identity)


def _same_agent(one: AgentIdentity, other: AgentIdentity) -> bool:
    return (one.tenant, one.agent_id) == (other.tenant, other.agent_id)
