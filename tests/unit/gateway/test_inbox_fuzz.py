"""Whatever an agent sends, a link either takes it or refuses it with a reason: nothing else comes out."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.ids import ID_PATTERN
from quarterdeck.contracts.links import Carrier, LinkEnd
from quarterdeck.core.bus import Ack, Bus, Outgoing
from quarterdeck.core.clock import ManualClock
from quarterdeck.core.runtime import TaskSet
from quarterdeck.gateway.credit import Credit
from quarterdeck.gateway.link import Link, LinkParts
from quarterdeck.gateway.link_metrics import LinkMetrics
from quarterdeck.gateway.native import NativeLink
from quarterdeck.gateway.opening import Opened
from quarterdeck.gateway.progress import ProgressBoard
from quarterdeck.gateway.reports_out import ReportPublisher
from quarterdeck.gateway.settings import GatewaySettings
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.pipe import pipe

_ids = st.sampled_from(["c1", "c2", "", "a.b", ">", "x" * 65])
_numbers = st.integers(0, 2**32 - 1)
_commands = {"report_seq": _numbers, "command_id": _ids, "attempt": st.sampled_from([0, 1, 2**32 - 1])}
_ends = st.builds(pb.StreamEnd, length=st.sampled_from([0, 3, 2**63]), sha256=st.binary(max_size=40))
_bodies = st.one_of(
    st.builds(pb.Accepted, **_commands).map(lambda body: pb.AgentMessage(accepted=body)),
    st.builds(pb.Started, **_commands).map(lambda body: pb.AgentMessage(started=body)),
    st.builds(pb.Rejected, **_commands, reason=st.text()).map(lambda body: pb.AgentMessage(rejected=body)),
    st.builds(pb.TerminateAck, **_commands).map(lambda body: pb.AgentMessage(terminate_ack=body)),
    st.builds(pb.Result, **_commands, end=st.integers(0, 9), stdout=_ends, stderr=_ends).map(
        lambda body: pb.AgentMessage(result=body)
    ),
    st.builds(
        pb.Output,
        command_id=_ids,
        attempt=st.sampled_from([0, 1]),
        stream=st.integers(0, 3),
        offset=st.sampled_from([0, 1, 3, 2**40]),
        chunk=st.binary(max_size=8),
    ).map(lambda body: pb.AgentMessage(output=body)),
    st.builds(pb.Heartbeat, at_ms=st.integers(-(2**63), 2**63 - 1)).map(
        lambda body: pb.AgentMessage(heartbeat=body)
    ),
    st.builds(pb.GuestList, guests=st.lists(_ids, max_size=4)).map(
        lambda body: pb.AgentMessage(guest_list=body)
    ),
    st.just(pb.AgentMessage(hello=pb.Hello())),
    st.just(pb.AgentMessage()),
)
_frames = st.one_of(
    st.binary(max_size=60),
    st.lists(_bodies, max_size=6).map(lambda messages: pb.AgentFrame(messages=messages).SerializeToString()),
)


class _Bus:
    """Stores everything at once, at the sequence that comes next."""

    def __init__(self) -> None:
        self.sequence = 0

    async def publish_many(self, messages: Sequence[Outgoing]) -> list[Ack]:
        return []

    def publish_soon(self, outgoing: Outgoing) -> "asyncio.Future[Ack]":
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self.sequence += 1
        future.set_result(Ack("QD_FEED", self.sequence))
        return future

    async def last_message(self, stream: str, subject: str) -> None:
        return None


class _Guests:
    def announced(self, link: Link, guests: tuple[str, ...]) -> None:
        """Names that passed the check are ids, each once."""
        assert list(guests) == sorted(set(guests))
        assert all(map(ID_PATTERN.match, guests))


async def _feed(frames: list[bytes]) -> None:
    limits = GatewaySettings(gateway_id="g", carrier=Carrier.GRPC)
    clock, tasks, bus = ManualClock(), TaskSet(), cast(Bus, _Bus())
    publisher = ReportPublisher(bus, limits, tasks)
    parts = LinkParts(
        bus=bus,
        clock=clock,
        settings=limits,
        reports=publisher,
        credit=Credit(limits),
        progress=ProgressBoard(publisher, clock, limits),
        metrics=LinkMetrics(Carrier.GRPC),
        guests=_Guests(),
    )
    ours, theirs = pipe()
    journal = [pb.JournalEntry(command_id="c1", attempt=1), pb.JournalEntry(command_id="c2", attempt=1)]
    record = AgentRecord(tenant="acme", agent_id="a1", name="a1")
    link = NativeLink(parts, ours, Opened(record, pb.Hello(agent_id="a1", journal=journal)))
    for frame in frames:
        await theirs.send(frame)
    await theirs.close("done")
    failures: list[Any] = []
    try:
        await link.run()
    except LinkRefused as refusal:
        assert refusal.reason in {LinkEnd.PROTOCOL, LinkEnd.UNDECODABLE, LinkEnd.OVERFLOW}
    except ValueError as error:  # would be a crash of the link
        failures.append(error)
    link.retire()
    await publisher.idle()
    parts.progress.close()
    await tasks.close()
    assert not failures
    assert not tasks.crashed.done()


@settings(max_examples=200)
@given(st.lists(_frames, max_size=5))
def test_no_frame_does_more_than_end_its_link(frames: list[bytes]) -> None:
    """S1-4"""
    asyncio.run(_feed(frames))
