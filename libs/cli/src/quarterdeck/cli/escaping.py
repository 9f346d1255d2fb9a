r"""Output of a machine is hostile to the terminal that shows it: it rewrites titles, hides text, types replies.

Owns what a terminal may see. Everything that a terminal would obey or that would reorder text becomes visible
(`\x1b`); tab and line feed stay. Pure; called by the sinks, unless the user said --raw or writes to a file.
Source: Unicode 15 §23.2 (bidirectional controls), ECMA-48 §8.3 (C0 and C1).
"""

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls: the Trojan Source trick
    "\u2028\u2029\ufff9-\ufffb]"  # line separators and interlinear marks
)


def printable(raw: bytes) -> str:
    r"""`raw` as text that no terminal obeys. Bytes that are no UTF-8 become `\xNN`; `\r\n` becomes `\n`."""
    return escape(raw.decode("utf-8", errors="backslashreplace").replace("\r\n", "\n"))


def escape(text: str) -> str:
    r"""Control characters of `text` as `\xNN` or `\uNNNN`."""
    return _UNSAFE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
