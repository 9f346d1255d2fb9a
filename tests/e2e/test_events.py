"""Other services: a plain NATS subscriber gets CloudEvents, and the AsyncAPI document describes what it got."""

import asyncio
import json
from typing import Any

import nats
import pytest
from jsonschema_rs import validator_for

from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_plain_subscriber_receives_documented_cloudevents(system: System) -> None:
    """S3-8, S4-22: nothing of ours is needed to follow along."""
    document = await system.get("/schema/asyncapi.json")
    schemas = _schemas_by_type(document)
    events: list[dict[str, Any]] = []
    client = await nats.connect(system.ready["nats"])
    try:
        subscription = await client.subscribe("qd.event.>")
        batch_id = await system.batch("echo hi; exit 3", system.agents[:2])
        async with asyncio.timeout(30):
            while not any(event["type"] == "batch.completed" for event in events):
                message = await subscription.next_msg(timeout=30)
                event = json.loads(message.data)
                if event["data"].get("batch_id") == batch_id:
                    events.append(event)
    finally:
        await client.close()

    types = [event["type"] for event in events]
    assert types[0] == "batch.created"
    assert types.count("command.completed") == 2
    assert types[-1] == "batch.completed"
    for event in events:
        assert event["specversion"] == "1.0"
        validator_for(schemas[event["type"]]).validate(event)


def _schemas_by_type(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The payload schema of each message, with the document's components at hand for references."""
    assert document["asyncapi"].startswith("3.")
    return {
        message["name"]: {**message["payload"], "components": document["components"]}
        for message in document["components"]["messages"].values()
    }
