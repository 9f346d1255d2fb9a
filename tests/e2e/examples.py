"""One HTTP example of a document, and how an answer is compared with it.

Documents write JSON for people: comments, `...` for "and so on", made up ids and times. `plain` takes the comments out;
`says` compares an answer with what a document shows. The examples themselves are in documents.py.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

_COMMENT = re.compile(r"\s*//.*")
_AND_SO_ON = re.compile(r",?\s*\.\.\.(?=\s*[\]},])")
_TRAILING_COMMA = re.compile(r",(?=\s*[\]}])")

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_MADE_UP_IDS = frozenset({"unique_batch_task_uuid", "batch_uuid_123", "child_uuid_abc"})
_MADE_UP_TIME = "timestamp"


@dataclass(frozen=True)
class Example:
    section: str
    """Document, and the heading that the example stands under."""
    request: str
    """As in the document: method and path, headers, an empty line, the body."""
    answer: str
    """JSON as in the document, or empty where it shows none."""
    status: int = 200
    scene: str = ""
    """What has to happen first; a method of the stage."""
    stands_for: dict[str, str] = field(default_factory=dict)
    """Words of the request that are made up → the name under which an answer or a scene gave the true ones."""
    gives: dict[str, str] = field(default_factory=dict)
    """Name → member of this answer that later examples need; `a.0.b` leads into lists and objects."""
    more: str = ""
    """JSON of what the answer must say as well, where the document tells it in prose."""

    @property
    def method(self) -> str:
        return self.request.split()[0]

    @property
    def path(self) -> str:
        return self.request.split()[1]

    @property
    def body(self) -> str | None:
        return plain(body) if (body := self.request.partition("\n\n")[2]) else None


def plain(text: str) -> str:
    """What a document shows as JSON, as JSON."""
    return _TRAILING_COMMA.sub("", _AND_SO_ON.sub("", _COMMENT.sub("", text)))


def says(shown: Any, answered: Any) -> bool:
    """Whether `answered` is what a document shows: each member, each value; made up ids and times by their form."""
    match shown, answered:
        case dict(), dict():
            return all(name in answered and says(value, answered[name]) for name, value in shown.items())
        case list(), list():
            return len(shown) == len(answered) and all(map(says, shown, answered))
        case str(), str():
            return _means(shown, answered)
        case _:
            return type(shown) is type(answered) and bool(shown == answered)


def _means(shown: str, answered: str) -> bool:
    if _ID.fullmatch(shown) or shown in _MADE_UP_IDS:
        return _ID.fullmatch(answered) is not None
    if _TIME.fullmatch(shown) or shown == _MADE_UP_TIME:
        return _TIME.fullmatch(answered) is not None
    if shown.endswith("..."):
        return answered.startswith(shown.removesuffix("..."))
    return shown == answered


def found(answer: Any, way: str) -> str:
    """The value at `way`, such as `tasks.0.child_command_id`."""
    for step in way.split("."):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return str(answer)


def shown(example: Example) -> Any:
    return json.loads(plain(example.answer)) if example.answer else {}
