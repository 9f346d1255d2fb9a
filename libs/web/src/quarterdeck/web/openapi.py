"""The table of operations as an OpenAPI 3.1 document. Pure. Source: spec.openapis.org/oas/v3.1.0.

Bodies come from the very structs that decode and encode them, so the document cannot promise what the code does not do.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from quarterdeck.web.operations import PUBLIC, Operation
from quarterdeck.web.problems import MEDIA_TYPE

_REFS: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457; members beyond these depend on the code.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable."},
        "field": {"type": "string", "description": "The member of the request at fault."},
    },
}


def openapi_document(operations: Iterable[Operation], *, title: str, version: str) -> dict[str, Any]:
    rows = tuple(operations)
    bodies = {kind for row in rows for kind in (row.request, *row.answers.values()) if isinstance(kind, type)}
    ordered = sorted(bodies, key=lambda kind: kind.__qualname__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{row.method.lower()}{_PARAMETER.sub('by', row.path).replace('/', '_')}",
        "summary": row.summary,
        "tags": [row.action.partition(".")[0]],
        "security": [] if row.action == PUBLIC else [{"bearer": []}],
        "parameters": [*_path_parameters(row), *_query_parameters(row), *_header_parameters(row)],
        "responses": {str(status): _answer(status, body) for status, body in row.answers.items()},
    }
    described["responses"]["default"] = {
        "description": "An error",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFS.format(name="Problem")}}},
    }
    if row.request is not None:
        schema = {"$ref": _REFS.format(name=row.request.__name__)}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _answer(status: int, body: type[msgspec.Struct] | str) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(body, type):
        schema = {"$ref": _REFS.format(name=body.__name__)}
        described["content"] = {"application/json": {"schema": schema}}
    elif body:
        described["content"] = {body: {}}
    return described


def _path_parameters(row: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(row.path)
    ]


def _query_parameters(row: Operation) -> list[dict[str, Any]]:
    if row.query is None:
        return []
    _, components = msgspec.json.schema_components([row.query], ref_template=_REFS)
    properties: dict[str, Any] = components[row.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]


def _header_parameters(row: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in row.headers
        if name not in {"Accept", "Authorization", "Content-Type"}  # OpenAPI has other places for these
    ]
