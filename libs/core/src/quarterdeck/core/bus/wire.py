"""The two pieces of the NATS protocol that we write and read ourselves, because every message passes through them.

Pure: bytes in, bytes out. Source: NATS client protocol (PUB, HPUB), nats-server ADR-4 (headers).
"""

import re
from typing import Final, NamedTuple

from quarterdeck.core.bus.messages import DESCRIPTION, EXPECTED_LAST_SUBJECT_SEQUENCE, MSG_ID, STATUS, Headers

_HEADER_LINE: Final = "NATS/1.0"
_UNSAFE_SUBJECT: Final = re.compile(r"[\s*>]|\A\Z")
"""A subject to publish on has no white space (it would end the command) and no wildcard."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_KNOWN_NAMES: Final = frozenset({MSG_ID, EXPECTED_LAST_SUBJECT_SEQUENCE, "traceparent"})
_LINE_BREAKS: Final = str.maketrans({"\r": " ", "\n": " "})
_STATUS_END: Final = 3


class Delivery(NamedTuple):
    """One message as it came in. `reply` is empty when nobody waits for an answer."""

    subject: str
    reply: str
    body: bytes
    headers: Headers | None


def check_publishable(subject: str, headers: Headers | None = None) -> None:
    """Raises ValueError for what `encode_publish` would not make one command of."""
    if _UNSAFE_SUBJECT.search(subject):
        raise ValueError(f"no subject to publish on: {subject!r}")
    for name in headers or ():
        if name not in _KNOWN_NAMES and not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"no header name: {name!r}")


def encode_publish(subject: str, body: bytes, reply: str = "", headers: Headers | None = None) -> bytes:
    """One PUB or HPUB command, of parts that `check_publishable` has passed."""
    target = f"{subject} {reply}" if reply else subject
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (target.encode(), len(body), body)
    block = _encode_headers(headers)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (target.encode(), len(block), len(block) + len(body), block, body)


def _encode_headers(headers: Headers) -> bytes:
    block = _HEADER_LINE
    for name, value in headers.items():
        if "\n" in value or "\r" in value:  # would end the line
            value = value.translate(_LINE_BREAKS)
        block += f"\r\n{name}: {value}"
    return f"{block}\r\n\r\n".encode()


def parse_headers(block: bytes) -> Headers:
    """`NATS/1.0[ <status>[ <description>]]`, then one `Name: Value` per line. Lines that are neither are skipped."""
    first, *lines = block.decode("utf-8", "replace").split("\r\n")
    headers: Headers = {}
    inline = first[len(_HEADER_LINE) :].strip()
    if inline:
        headers[STATUS] = inline[:_STATUS_END]
        if description := inline[_STATUS_END:].strip():
            headers[DESCRIPTION] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers
