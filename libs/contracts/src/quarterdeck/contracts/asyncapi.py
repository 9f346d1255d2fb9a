"""The public events on NATS as an AsyncAPI 3 document: one channel per event type, CloudEvents 1.0 as the envelope.

Pure: event types → document. Source: asyncapi.com/docs/reference/specification/v3.0.0. Served by the api service.
"""

from typing import Any, Final

import msgspec

from quarterdeck.contracts import subjects
from quarterdeck.contracts.event_payloads import PAYLOADS
from quarterdeck.contracts.events import CloudEvent

_REFS: Final = "#/components/schemas/{name}"
_PARAMETERS: Final[dict[str, str]] = {
    "tenant": "The tenant.",
    "batch_id": f"The batch, or `{subjects.NONE}` for what belongs to none.",
    "command_id": f"The command, or `{subjects.NONE}` for what belongs to none.",
}
_OPTIONAL: Final = {"command.started", "command.acknowledged", "command.sent"}
"""Reports that arrive together make one transition: these events may be left out, their times are in the later one."""


def asyncapi_document(*, version: str) -> dict[str, Any]:
    """`version`: of the product."""
    kinds = sorted({*PAYLOADS.values()}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components([CloudEvent, *kinds], ref_template=_REFS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quarterdeck events",
            "version": version,
            "description": (
                "Facts about commands, batches, sessions and agents, on JetStream and to plain NATS "
                "subscribers. Readers drop an event whose aggregateversion is lower than one they saw, and ignore "
                "members they do not know."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {type_: _channel(type_) for type_ in PAYLOADS},
        "operations": {
            f"send.{type_}": {"action": "send", "channel": {"$ref": f"#/channels/{type_}"}}
            for type_ in PAYLOADS
        },
        "components": {
            "messages": {type_: _message(type_, kind.__name__) for type_, kind in PAYLOADS.items()},
            "schemas": schemas,
        },
    }


def event_schema(document: dict[str, Any], type_: str) -> dict[str, Any]:
    """JSON Schema of one event type as a document of its own. Raises KeyError for a type that `document` lacks."""
    message: dict[str, Any] = document["components"]["messages"][type_]
    return {**message["payload"], "components": {"schemas": document["components"]["schemas"]}}


def _channel(type_: str) -> dict[str, Any]:
    entity, _, verb = type_.partition(".")
    address = subjects.event("{tenant}", "{batch_id}", "{command_id}", entity, verb)
    return {
        "address": address,
        "description": "May be left out; later events tell its times." if type_ in _OPTIONAL else "",
        "messages": {type_: {"$ref": f"#/components/messages/{type_}"}},
        "parameters": {name: {"description": text} for name, text in _PARAMETERS.items()},
    }


def _message(type_: str, payload: str) -> dict[str, Any]:
    return {
        "name": type_,
        "contentType": "application/cloudevents+json",
        "payload": {
            "allOf": [
                {"$ref": _REFS.format(name=CloudEvent.__name__)},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": type_},
                        "data": {"$ref": _REFS.format(name=payload)},
                    },
                },
            ]
        },
    }
