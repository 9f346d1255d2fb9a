"""Links of DeepFlow agents over real sockets: who gets one, what keeps it, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from quarterdeck.contracts.agents import AgentRecord, Dialect
from quarterdeck.contracts.links import Carrier, LinkEnd
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import metrics
from quarterdeck.core.bus import Bus
from quarterdeck.core.registry import ForeignAgents
from quarterdeck.core.registry.keys import agent_key, link_key
from quarterdeck.gateway.foreign.admission import Admission
from quarterdeck.gateway.foreign.deepflow import DeepflowDialect
from quarterdeck.gateway.foreign.reception import ForeignReception
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents.deepflow import NotAnswered, SampleAgent
from tests.conformance.handpacked import integer, nested, octets, pack, text
from tests.integration.gateway.carriers import station
from tests.integration.gateway.conftest import Aggregator, House
from tests.integration.gateway.deepflow_field import AGENT_ID, TENANT, Field, deepflow_field
from tests.integration.gateway.pipe import pipe


@pytest.fixture
async def field(bus: Bus, aggregator: Aggregator, tmp_path: Path) -> AsyncIterator[Field]:
    async with deepflow_field(bus, aggregator, tmp_path) as field:
        yield field


async def test_agent_is_known_by_its_ip_and_mac(field: Field) -> None:
    """S1-5, S1-28"""
    await field.connected(team_id="team-1")

    entry = await field.gateway.ctx.registry.agents.get(agent_key(TENANT, AGENT_ID))
    assert entry is not None
    assert entry.value.aliases == {Dialect.DEEPFLOW: "10.0.0.7-aa:bb:cc:dd:ee:07"}
    assert entry.value.facts == {"ip": "10.0.0.7", "mac": "aa:bb:cc:dd:ee:07", "team_id": "team-1"}
    assert entry.value.capabilities == ("catalogue", "list_commands", "list_namespaces")
    link, _ = await field.link()
    assert (link.carrier, link.dialect) == (Carrier.GRPC, "deepflow")


async def test_flood_of_heartbeats_starves_nobody(field: Field) -> None:
    """S1-12, S1-13, S1-19"""
    flooding = await field.connected()
    await field.connected(ip="10.0.0.8")

    async def flood() -> None:
        while True:
            await flooding.say_heartbeat()

    flood_task = asyncio.create_task(flood())
    with capture_logs() as logged:
        there = await field.result(await field.run("zeros", bytes="300000"))
        other = "df-10-0-0-8-aa-bb-cc-dd-ee-07"
        elsewhere = await field.result(await field.order("catalogue", {"ident": "hello"}, agent_id=other))
        await eventually(lambda: any(line["event"] == "gateway.heartbeats_received" for line in logged))
    flood_task.cancel()

    assert (there.end, there.stdout.length) == (CommandState.SUCCEEDED, 300_000)
    assert elsewhere.end is CommandState.SUCCEEDED
    assert all(line["count"] % 20 == 0 for line in logged if line["event"] == "gateway.heartbeats_received")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xff\xff\xff",
        pack(integer(2, 2), nested(6, octets(2, b"a result of whom?"))),
        nested(1, text(1, "10.0.0.7")),
        nested(1, text(1, "no address"), text(2, "aa:bb:cc:dd:ee:07")),
        nested(1, text(1, "10.0.0.7"), octets(2, b"\xff\xfe")),
    ],
    ids=["empty", "no_message", "no_name", "no_mac", "no_ip", "no_utf8"],
)
async def test_first_response_that_names_nobody_ends_its_link_alone(field: Field, first: bytes) -> None:
    """S1-2, S1-4"""
    await field.connected()
    stranger = field.agent()
    await stranger.dial()

    await stranger.say_raw(first)

    assert await stranger.hear() is None
    assert (await field.result(await field.run("hello"))).end is CommandState.SUCCEEDED


async def test_response_in_anothers_name_ends_the_link(field: Field) -> None:
    """S1-28: what ran on it is not known, and said so."""
    agent = await field.connected(deaf=True)
    command_id = await field.run("hello")
    await agent.asked(1)

    await agent.say(2, text(3, "done"), who=nested(1, text(1, "10.0.0.9"), text(2, "aa:bb:cc:dd:ee:07")))

    await agent.ended.wait()
    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")
    assert (await field.ended()).end is LinkEnd.UNAUTHENTICATED


async def test_newer_link_replaces_the_older(field: Field) -> None:
    """S1-6"""
    older = await field.connected()
    newer = await field.connected()

    await older.ended.wait()
    assert (await field.result(await field.run("hello"))).end is CommandState.SUCCEEDED
    assert len(newer.requests) == 1


async def test_requests_of_a_new_link_count_from_two_again(field: Field) -> None:
    """S1-6, S1-21: nothing of the older link is left."""
    older = await field.connected(deaf=True)
    lost = await field.run("hello")
    await older.asked(1)
    await older.finish()
    await field.result(lost)

    newer = await field.connected()
    command_id = await field.run("hello")

    assert (await field.result(command_id)).end is CommandState.SUCCEEDED
    assert newer.requests[0].integer(1) == 2


async def test_end_and_loss_of_a_call_are_told_apart(field: Field) -> None:
    """S1-17"""
    with capture_logs() as logged:
        leaving = await field.connected()
        await leaving.finish()
        await field.ended()
        assert not [line for line in logged if line["event"] == "gateway.connection_lost"]

        await (await field.connected()).close()
        await field.ended()
    assert [line["cause"] for line in logged if line["event"] == "gateway.connection_lost"] == ["cancelled"]


@pytest.mark.parametrize("ending", ["finish", "close", "say_nonsense", "replace"])
async def test_nothing_is_left_of_a_link_however_it_ends(field: Field, ending: str) -> None:
    """S1-14, S1-15, S1-19: not even of an agent that speaks without end, and does not listen."""
    connected = metrics.LINKS_CONNECTED.labels(Carrier.GRPC, Dialect.DEEPFLOW)
    before = connected._value.get()
    agent = field.agent()
    await agent.dial()
    for _ in range(3_000):
        await agent.say_heartbeat()
    await eventually(lambda: connected._value.get() == before + 1)
    with capture_logs() as logged:
        command_id = await field.run("wait")
        # An order that no link wrote goes back, and has no end to report.
        await eventually(lambda: any(line["event"] == "gateway.deepflow_request_written" for line in logged))

    if ending == "say_nonsense":
        await agent.say_raw(b"\xff\xff\xff")
    elif ending == "replace":
        await (await field.connected()).finish()
    else:
        await getattr(agent, ending)()

    await eventually(lambda: connected._value.get() == before)
    await eventually(lambda: not _tasks_of_links())
    result = await field.result(command_id)
    assert (result.end, result.reason) == (CommandState.OUTCOME_UNKNOWN, "link_lost")


async def test_agent_that_is_silent_for_a_minute_is_let_go(house: House) -> None:
    """S1-3"""
    dialect = DeepflowDialect(
        Admission(house.registry, house.clock, house.gateway.events, admit=True, tenant=TENANT)
    )
    ours, theirs = pipe()
    house.served.append(asyncio.create_task(house.gateway.serve(ours, ForeignReception(dialect))))
    await theirs.send(nested(1, text(1, "10.0.0.7"), text(2, "aa:bb:cc:dd:ee:07")))
    assert await theirs.receive() == pack(integer(1, 0))
    link = house.gateway.links.find(TENANT, AGENT_ID)
    assert link is not None

    house.clock.advance(60_000)
    link.check_silence()
    assert theirs.closed_with is None and ours.closed_with is None
    house.clock.advance(1)
    link.check_silence()

    await eventually(lambda: ours.closed_with == LinkEnd.SILENT)


async def test_stranger_hears_nothing_where_nobody_is_admitted(bus: Bus, tmp_path: Path) -> None:
    """S1-2, S1-28"""
    async with station(bus, Carrier.GRPC, tmp_path) as gateway:
        stranger = SampleAgent(f"127.0.0.1:{gateway.address.port}", ca_pem=gateway.ca_pem)
        with pytest.raises(NotAnswered):
            await stranger.connect()
        await stranger.close()


async def test_registered_agent_comes_over_tls(bus: Bus, tmp_path: Path) -> None:
    """S1-28"""
    record = AgentRecord(
        tenant="acme",
        agent_id="web-1",
        name="web-1",
        aliases={Dialect.DEEPFLOW: "10.0.0.7-aa:bb:cc:dd:ee:07"},
    )
    async with station(bus, Carrier.GRPC, tmp_path) as gateway:
        await ForeignAgents(gateway.ctx.registry).register(record, b"")
        agent = SampleAgent(f"127.0.0.1:{gateway.address.port}", ca_pem=gateway.ca_pem)
        await agent.connect()

        entry = await gateway.ctx.registry.links.get(link_key("acme", "web-1"))
        assert entry is not None
        assert entry.value.ended_at_ms is None
        await agent.close()


def _tasks_of_links() -> list[str]:
    names = [task.get_name() for task in asyncio.all_tasks() if not task.done()]
    return [name for name in names if name.startswith(("deepflow_", "foreign_", "output:"))]
