"""NATS subjects and stream names are written only in contracts/subjects.py and contracts/streams.py.

Why: a subject is an interface between processes that are deployed one by one. When a gateway publishes a
token more than the broadcaster's own literal filters on, the tests of both sides stay green on their own
literals and no watcher sees a byte. One builder and one parser cannot drift apart.
"""

import re
from collections.abc import Iterator

from tools.linters.source import Finding, SourceFile

NAME = "subject-literal"

_HOMES = ("contracts/subjects.py", "contracts/streams.py")
_SUBJECT = re.compile(r"^qd\.(command|report|event|output|gateway|audit|dead)\b")
_STREAM = re.compile(r"^QD_(COMMANDS|REPORTS|FEED|STATE|AUDIT|DEAD|LINKS|GATEWAYS|AGENTS|TOKENS)$")


def check(source: SourceFile) -> Iterator[Finding]:
    """Findings for every literal that looks like a subject or names a stream or bucket."""
    if not source.ships or source.is_one_of(*_HOMES):
        return
    for literal in source.string_literals():
        text = str(literal.value)
        if _SUBJECT.search(text) or _STREAM.search(text):
            yield source.finding(
                literal.lineno, NAME, f"{text!r}: build it with contracts.subjects or streams"
            )
