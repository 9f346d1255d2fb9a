"""Log events are constant dotted names; everything that varies is a field.

Why: `log.info(f"sent {command_id} to {agent}")` cannot be counted, alerted on or searched, and puts foreign
text into the log's own vocabulary. Redaction works on fields; it cannot take a password out of a finished
sentence.
"""

import ast
import re
from collections.abc import Iterator

from tools.linters.source import Finding, SourceFile

NAME = "log-event"

_LOGGERS = frozenset({"log", "_log", "logger", "_logger"})
_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_EVENT = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")


def check(source: SourceFile) -> Iterator[Finding]:
    """Findings for log calls whose event is no constant such as `dispatcher.command_sent`."""
    if not source.ships:
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[event, *_]) if (
                level in _LEVELS and _name(logger) in _LOGGERS
            ):
                match event:
                    case ast.Constant(value=str(text)) if _EVENT.match(text):
                        pass
                    case _:
                        yield source.finding(node.lineno, NAME, "the event is not a constant dotted name")
            case _:
                pass


def _name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None
