"""Sizes as people write them: `4096` (bytes), `64KiB`, `10MB`, `1.5GiB`.

Owns the notation: decimal units are powers of 1000, those with an `i` and bare letters powers of 1024, as in dd(1) and
head(1). Pure; the verbs use `Size` as a parameter type, and sizes travel as bytes.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

_UNITS: Final = "kmgt"
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?b)?|b)?", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Bytes, at least 1. Raises ValueError that shows the notation."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; write 4096, 64KiB, 10MB or 1.5GiB")
    number, letter, suffix = found.groups()
    base = 1000 if (suffix or "").lower() == "b" else 1024
    power = _UNITS.index(letter.lower()) + 1 if letter else 0
    total: float = float(number) * base**power
    if total < 1:
        raise ValueError(f"{text!r}: a size is at least one byte")
    return round(total)


def _convert(_type: Any, tokens: Sequence[Token]) -> int:
    return parse_bytes(tokens[0].value)


Size = Annotated[int, Parameter(converter=_convert, accepts_keys=False, metavar="SIZE")]
"""A parameter in bytes that is written as above."""
