"""Last-Event-ID: `<feed incarnation>-<sequence>`. The incarnation tells one life of the feed from the next."""

import re
from typing import Final, NamedTuple

from quarterdeck.contracts.errors import InvalidEventId

_PATTERN: Final = re.compile(r"(\d{1,15})-(\d{1,18})", re.ASCII)


class EventId(NamedTuple):
    incarnation: int
    """Unix milliseconds at which the feed was created."""
    sequence: int

    def __str__(self) -> str:
        return f"{self.incarnation}-{self.sequence}"


def parse_event_id(text: str) -> EventId:
    """Raises InvalidEventId."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise InvalidEventId(
            "Last-Event-ID: expected the id of an earlier event", field="Last-Event-ID", value=text
        )
    return EventId(int(found[1]), int(found[2]))
