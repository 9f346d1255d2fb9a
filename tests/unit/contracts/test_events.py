"""Domain events as the world sees them."""

import json

from quarterdeck.contracts.events import EventRecord, encode_cloud_event, rfc3339


def test_an_event_is_a_cloudevent_with_a_deterministic_id() -> None:
    """S3-8: id, type, version, correlation id, payload and time."""
    record = EventRecord(
        type="command.completed",
        tenant="acme",
        aggregate_id="c1",
        version=4,
        at_ms=1_763_700_000_123,
        batch_id="b1",
        command_id="c1",
        payload={"state": "succeeded", "exit_code": 0, "result": '{"success":true}'},
    )

    event = json.loads(encode_cloud_event(record))

    assert record.subject == "qd.event.acme.b1.c1.command.completed"
    assert event == {
        "specversion": "1.0",
        "id": "c1-4",
        "source": "/quarterdeck/acme",
        "type": "command.completed",
        "subject": "c1",
        "time": "2025-11-21T04:40:00.123Z",
        "datacontenttype": "application/json",
        "tenant": "acme",
        "aggregateversion": 4,
        "correlationid": "c1",
        "data": {
            "command_id": "c1",
            "batch_id": "b1",
            "state": "succeeded",
            "exit_code": 0,
            "result": {"success": True},
        },
    }


def test_parts_of_one_version_have_ids_of_their_own() -> None:
    parts = [
        EventRecord(type="batch.created", tenant="t", aggregate_id="b", version=1, at_ms=0, part=part)
        for part in range(3)
    ]

    assert [record.event_id for record in parts] == ["b-1", "b-1-1", "b-1-2"]


def test_times_are_utc_with_z() -> None:
    """S0-5"""
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
