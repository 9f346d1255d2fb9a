"""An agent that is revoked while its link opens gets none, whoever hears of it first."""

import asyncio

import msgspec

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.core.registry.keys import agent_key
from quarterdeck.gateway.connection import Connection
from quarterdeck.gateway.foreign.reception import ForeignReception
from quarterdeck.testing.eventually import eventually
from tests.integration.gateway.conftest import House
from tests.integration.gateway.note_dialect import TENANT, NoteAgent, NoteConversation, NoteDialect
from tests.integration.gateway.pipe import pipe

KEY = agent_key(TENANT, "n1")


class SlowDialect(NoteDialect):
    """Has proved who the agent is, and takes its time to say so."""

    def __init__(self) -> None:
        super().__init__()
        self.proved = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def open(self, connection: Connection) -> NoteConversation:
        conversation = await super().open(connection)
        self.proved.set()
        await self.goes_on.wait()
        return conversation


def record(**members: object) -> AgentRecord:
    known = AgentRecord(tenant=TENANT, agent_id="n1", name="n1")
    return msgspec.structs.replace(known, **members)


def _revoked(house: House) -> bool:
    entry = house.registry.agents.current.get(KEY)
    return entry is not None and entry.value.revoked


async def test_agent_that_is_revoked_while_it_is_let_in_gets_no_link(house: House) -> None:
    """S1-28: the gateway heard of the revocation before there was a link to end."""
    await house.registry.agents.put(KEY, record())
    dialect, (ours, theirs) = SlowDialect(), pipe()
    house.served.append(asyncio.create_task(house.gateway.serve(ours, ForeignReception(dialect))))
    await theirs.send(b'{"hello": "n1"}')
    await dialect.proved.wait()

    await house.registry.agents.put(KEY, record(revoked=True))
    await eventually(lambda: _revoked(house))
    dialect.goes_on.set()

    assert await NoteAgent(house, "n1", theirs).hear() == {}
    assert house.gateway.links.find(TENANT, "n1") is None


async def test_agent_that_was_registered_anew_is_let_in(house: House) -> None:
    """The gateway's copy of the registry may still show the revoked one of the same name."""
    await house.registry.agents.put(KEY, record(revoked=True, enrolled_at_ms=1))
    await eventually(lambda: _revoked(house))

    class Anew(NoteDialect):
        async def open(self, connection: Connection) -> NoteConversation:
            conversation = await super().open(connection)
            conversation.record = record(enrolled_at_ms=2)
            return conversation

    await NoteAgent.connected(house, dialect=Anew())
