"""What must be on record before something else may happen, seen from whoever it happens to."""

import hashlib
from typing import NoReturn

import pytest

from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.errors import Unavailable
from quarterdeck.contracts.links import Carrier, GatewayLease
from quarterdeck.contracts.orders import OrderAnswer
from quarterdeck.contracts.output import AGENT_HEADER, OFFSET_HEADER, TIME_HEADER
from quarterdeck.contracts.reports import Accepted, Result, StreamReport
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.bus import Outgoing
from quarterdeck.core.registry.keys import gateway_key
from quarterdeck.core.store import CommandView
from quarterdeck.testing.eventually import eventually
from tests.integration.dispatcher.plane import FakeGateway, Plane

S = CommandState


class _Witness(FakeGateway):
    """A gateway that looks up each command at the moment that its order arrives."""

    def __init__(self, plane: Plane) -> None:
        super().__init__("gw1", OrderAnswer.QUEUED)
        self.seen: list[CommandView] = []
        self._plane = plane

    async def on_order(self, body: bytes, headers: dict[str, str]) -> bytes:
        answer = await super().on_order(body, headers)
        for command_id in self.ordered:
            self.seen.append(await self._plane.view(command_id))
        return answer


async def test_an_order_arrives_after_sent_was_written(plane: Plane) -> None:
    """I2, I3: a dispatcher that dies after the hand-over leaves a record of it."""
    witness = _Witness(plane)
    await plane.bus.serve(subjects.order("gw1"), witness.on_order)
    lease = GatewayLease(gateway_id="gw1", carrier=Carrier.GRPC, renewed_at_ms=plane.clock.now_ms())
    await plane.registry.gateways.put(gateway_key("gw1"), lease)
    await plane.link("gw1", "a1")

    command_id = await plane.post("a1")
    await eventually(lambda: bool(witness.seen))

    seen = witness.seen[0]
    assert (seen.command_id, seen.state, seen.gateway_id) == (command_id, S.SENT, "gw1")


async def test_reports_stay_in_the_stream_until_they_are_applied(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """I1: an aggregator that dies while Redis is away has acknowledged nothing."""
    await plane.gateway("gw1", "a1")
    command_id = await plane.post("a1")
    await plane.until(command_id, S.SENT)
    monkeypatch.setattr(plane.store, "apply", _away)

    await plane.report(Accepted(command_id=command_id, attempt=1, agent_id="a1", at_ms=1))
    await eventually(lambda: "bus.handler_waiting" in capsys.readouterr().out)

    assert (await plane.bus.stream_info(streams.REPORTS)).messages == 1
    monkeypatch.undo()
    await plane.until(command_id, S.ACCEPTED)
    await plane.handled(streams.REPORTS)


async def _away(*_: object) -> NoReturn:
    raise Unavailable("redis: as told")


async def test_a_stream_that_no_gateway_saw_whole_is_read_again(plane: Plane) -> None:
    """I4: what the log holds decides, not what the agent says it sent."""
    await plane.gateway("gw1", "a1")
    verdicts = []
    for stored in (b"whole", b"other"):
        command_id = await plane.post("a1")
        await plane.until(command_id, S.SENT)
        subject = subjects.output("t", None, command_id, 1, "stdout")
        headers = {OFFSET_HEADER: "0", AGENT_HEADER: "a1", TIME_HEADER: "1"}
        await plane.bus.publish(Outgoing(subject, stored, headers=headers))
        told = StreamReport(length=5, sha256=hashlib.sha256(b"whole").digest())
        end = Result(command_id=command_id, attempt=1, agent_id="a1", at_ms=1, end=S.SUCCEEDED, stdout=told)

        await plane.report(end)

        verdicts.append((await plane.until(command_id, S.SUCCEEDED)).stdout.verified)
    assert verdicts == [True, False]
