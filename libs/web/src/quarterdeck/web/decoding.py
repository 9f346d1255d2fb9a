"""Bytes and query strings → typed requests; msgspec's complaints → errors that name the field.

Owns no request: those are the services'.
"""

import re
from collections.abc import Hashable
from functools import cache
from typing import Any, Final, TypeVar, cast, get_origin
from urllib.parse import parse_qsl

import msgspec

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.web.errors import MalformedBody

T = TypeVar("T")

_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`")
_NAMED_FIELD: Final = re.compile(r"^Object (?:missing required|contains unknown) field `([^`]+)`")


def decode_body(raw: bytes, kind: type[T]) -> T:
    """Raises MalformedBody when `raw` is no JSON, InvalidInput naming the field when it is no `kind`."""
    try:
        return msgspec.json.decode(raw.decode(), type=kind)  # JSON is UTF-8, also where we pass it on unread
    except msgspec.ValidationError as error:
        raise _invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(f"no valid JSON: {error}") from error
    except RecursionError as error:
        raise MalformedBody("nested too deeply") from error


def decode_query(raw: bytes, kind: type[T]) -> T:
    """`raw`: the query string. Of a parameter given twice the last counts, unless it is a list. Raises InvalidInput."""
    values: dict[str, Any] = {}
    lists = _list_parameters(cast(Hashable, kind))
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name in lists:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error


@cache
def _list_parameters(kind: Hashable) -> frozenset[str]:
    return frozenset(
        field.name for field in msgspec.structs.fields(cast(Any, kind)) if get_origin(field.type) is list
    )


def _invalid(error: msgspec.ValidationError) -> InvalidInput:
    text = str(error)
    path = _PATH.search(text)
    at = path.group(1).lstrip(".") if path else ""
    reason = _PATH.sub("", text)
    named = _NAMED_FIELD.match(reason)
    if named:
        at = f"{at}.{named.group(1)}" if at else named.group(1)
    field = at or "body"
    return InvalidInput(f"{field}: {reason[0].lower()}{reason[1:]}", field=field)
