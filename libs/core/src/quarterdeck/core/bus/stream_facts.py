"""Looking at a stream: its sequences, its age, the last message of a subject.

Reads only. Used by bus.py and read.py.
"""

import base64
from datetime import datetime

from quarterdeck.core.bus.api import Api
from quarterdeck.core.bus.api_errors import MESSAGE_NOT_FOUND
from quarterdeck.core.bus.errors import ApiError
from quarterdeck.core.bus.messages import StoredMessage, StreamFacts
from quarterdeck.core.bus.wire import parse_headers


async def stream_facts(api: Api, stream: str) -> StreamFacts:
    """Raises StreamNotFound, Unavailable."""
    answer = await api.call(f"STREAM.INFO.{stream}")
    state = answer["state"]
    return StreamFacts(
        name=stream,
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        created_ms=_unix_ms(answer["created"]),
        messages=state["messages"],
        bytes=state["bytes"],
    )


async def last_message(api: Api, stream: str, subject: str) -> StoredMessage | None:
    """The newest message on exactly `subject`, or None. Raises StreamNotFound, Unavailable."""
    try:
        answer = await api.call(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    except ApiError as error:
        if error.err_code == MESSAGE_NOT_FOUND:
            return None
        raise
    message = answer["message"]
    return StoredMessage(
        subject=message["subject"],
        body=base64.b64decode(message.get("data") or b""),
        headers=parse_headers(base64.b64decode(message.get("hdrs") or b"")),
        sequence=message["seq"],
        at_ms=_unix_ms(message["time"]),
    )


def _unix_ms(text: str) -> int:
    """RFC 3339 with up to nine fractional digits; Python takes six."""
    head, _, rest = text.partition(".")
    digits = rest.rstrip("Zz")
    zone = "+00:00"
    for sign in "+-":
        if sign in digits:
            digits, _, offset = digits.partition(sign)
            zone = sign + offset
    whole = datetime.fromisoformat(head.rstrip("Zz") + zone)
    return round(whole.timestamp()) * 1000 + int(digits[:3].ljust(3, "0"))
