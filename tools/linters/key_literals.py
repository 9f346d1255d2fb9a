"""Redis keys are written only in core/store/keys.py.

Why: every key carries its shard as a hash tag (`{s07}`), so that one script sees one slot. A key put
together by hand without its tag works on the embedded server and on a single server, and fails with
CROSSSLOT only on a cluster; a key of another shard silently parts a command from its index.
"""

import re
from collections.abc import Iterator

from tools.linters.source import Finding, SourceFile

NAME = "key-literal"

_HOMES = ("core/store/keys.py",)
_HASH_TAG = re.compile(r"\{s(\d|%|\{|$)")
_PREFIX = re.compile(r"^qd:")


def check(source: SourceFile) -> Iterator[Finding]:
    """Findings for every literal that holds a shard's hash tag or starts like a key of ours."""
    if not source.ships or source.is_one_of(*_HOMES):
        return
    for literal in source.string_literals():
        text = str(literal.value)
        if _HASH_TAG.search(text) or _PREFIX.search(text):
            yield source.finding(literal.lineno, NAME, f"{text!r}: build it with core.store.keys")
