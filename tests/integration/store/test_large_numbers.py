"""The largest counts that a gateway lets through come out of scripts, views and events as they went in."""

import msgspec
import pytest

from quarterdeck.contracts.event_payloads import CommandMoved
from quarterdeck.contracts.events import EventRecord, encode_cloud_event
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.states import CommandState
from quarterdeck.core.store import Move, Store
from quarterdeck.gateway.link_command import final_report
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.store.samples import AT_MS, a_command

S = CommandState


class _Told(msgspec.Struct):
    data: CommandMoved


@pytest.mark.parametrize("count", [2**53, 2**62, 2**64 - 1])
async def test_whatever_an_agent_counts_its_command_can_be_shown_and_told(store: Store, count: int) -> None:
    """I9, I11: one absurd number must not make a whole tenant's list unreadable."""
    end = pb.StreamEnd(length=count, truncated_bytes=count)
    report = final_report(end, None)
    fields = {"stdout_bytes": report.length, "stdout_truncated": report.truncated_bytes}
    command_id = new_id()
    await store.create_command(a_command(command_id))
    await store.apply([Move(command_id, 1, S.SENT, AT_MS)])

    written = await store.apply([Move(command_id, 1, S.SUCCEEDED, AT_MS, fields)])

    view = await store.command("t", command_id)
    assert view is not None
    assert (view.stdout.length, view.stdout.truncated_bytes) == (report.length, report.truncated_bytes)
    record = msgspec.msgpack.decode(written.entries[0].body, type=EventRecord)
    told = msgspec.json.decode(encode_cloud_event(record), type=_Told).data
    assert (told.stdout_bytes, told.stdout_truncated) == (report.length, report.truncated_bytes)
