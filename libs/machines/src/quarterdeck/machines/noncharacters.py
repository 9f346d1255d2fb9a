"""Text that QEMU's JSON cannot carry, in its monitor and in a guest's agent alike. Pure; called before requests go out.

Unicode has 66 code points that are no characters, such as U+FFFE. QEMU takes a request with one of them, escaped or
not, for no request at all, and its answer to that names none. Source: mod_utf8_codepoint, QEMU's util/unicode.c.
"""

import re
from typing import Final

NONCHARACTERS_REFUSED: Final = "QEMU reads no noncharacters, such as U+FFFE"

_NONCHARACTER: Final = re.compile(
    rb"\xef\xb7[\x90-\xaf]|\xef\xbf[\xbe\xbf]|[\xf0-\xf4][\x8f\x9f\xaf\xbf]\xbf[\xbe\xbf]"
)
"""In UTF-8: U+FDD0 to U+FDEF, and the last two of each of the 17 planes."""


def has_noncharacter(text: bytes) -> bool:
    """`text`: in UTF-8."""
    return _NONCHARACTER.search(text) is not None
