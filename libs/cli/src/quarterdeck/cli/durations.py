"""Durations as people write them: `30` (seconds), `500ms`, `90s`, `5m`, `1h30m`, `2d`.

A timeout may also be `quick`, `normal` or `long`: 10, 30 and 60 seconds. Owns the notation. Pure; the verbs use
`Duration` and `Timeout` as parameter types, and durations travel as milliseconds.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

from quarterdeck.contracts.limits import TIMEOUT_PRESETS_MS

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_SECONDS: Final = re.compile(r"\d+(?:\.\d+)?")


def parse_ms(text: str) -> int:
    """Milliseconds, at least 1. Raises ValueError that shows the notation."""
    if _SECONDS.fullmatch(text):
        total = float(text) * 1000
    elif _WHOLE.fullmatch(text):
        total = sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text))
    else:
        raise ValueError(f"{text!r} is no duration; write 30, 500ms, 90s, 5m or 1h30m")
    if total < 1:
        raise ValueError(f"{text!r}: a duration is at least 1ms")
    return round(total)


def parse_timeout_ms(text: str) -> int:
    """As parse_ms, or a preset's name. Raises ValueError."""
    return TIMEOUT_PRESETS_MS[text] if text in TIMEOUT_PRESETS_MS else parse_ms(text)


def show(duration_ms: float) -> str:
    """Short and human: `0.3s`, `12s`, `2m05s`, `3h10m`, `4d02h`."""
    seconds = duration_ms / 1000
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d{hours_left:02d}h"
    if hours:
        return f"{hours}h{minutes_left:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _convert(_type: Any, tokens: Sequence[Token]) -> int:
    return parse_ms(tokens[0].value)


Duration = Annotated[int, Parameter(converter=_convert, accepts_keys=False, metavar="DURATION")]
"""A parameter in milliseconds that is written as above."""


def _convert_timeout(_type: Any, tokens: Sequence[Token]) -> int:
    return parse_timeout_ms(tokens[0].value)


Timeout = Annotated[int, Parameter(converter=_convert_timeout, accepts_keys=False, metavar="DURATION")]
"""As Duration, or one of the presets."""
