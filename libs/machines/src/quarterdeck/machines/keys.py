"""Names of keys, and what each is called on the wire. Pure; called by QMP (by name) and SPICE (by scancode).

A key is named as QEMU names it (qapi/ui.json, QKeyCode): by its place on a US keyboard, whatever the guest's layout
makes of it. A few everyday names are accepted beside QEMU's.
"""

from collections.abc import Mapping
from typing import Final

EXTENDED: Final = 0xE0
"""Goes before the code of a key that the first PC keyboards did not have."""

ALIASES: Final[Mapping[str, str]] = {
    "control": "ctrl",
    "del": "delete",
    "enter": "ret",
    "escape": "esc",
    "ins": "insert",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "return": "ret",
    "space": "spc",
    "super": "meta_l",
    "win": "meta_l",
}
"""Everyday name → QEMU's."""

_FIRST_KEYBOARD: Final = (
    "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace "
    "tab q w e r t y u i o p bracket_left bracket_right ret "
    "ctrl a s d f g h j k l semicolon apostrophe grave_accent "
    "shift backslash z x c v b n m comma dot slash shift_r kp_multiply "
    "alt spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock "
    "kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 kp_decimal print f16 less f11 f12"
)
"""Set 1 numbers the keys of the first keyboards row by row, from 0x01 without a gap."""

_LATER: Final = {
    "asterisk": 0x37,
    "f13": 0x5D,
    "f14": 0x5E,
    "f15": 0x5F,
    "f20": 0x5A,
    "f21": 0x74,
    "f23": 0x6D,
    "f24": 0x6F,
    "henkan": 0x79,
    "hiragana": 0x77,
    "katakanahiragana": 0x70,
    "kp_comma": 0x7E,
    "kp_equals": 0x59,
    "lf": 0x5B,
    "muhenkan": 0x7B,
    "open": 0x64,
    "paste": 0x65,
    "ro": 0x73,
    "sysrq": 0x54,
    "yen": 0x7D,
}
"""Keys of later keyboards that found a free number, and second names."""

_EXTENDED: Final = {
    "ac_back": 0x6A,
    "ac_bookmarks": 0x66,
    "ac_forward": 0x69,
    "ac_home": 0x32,
    "ac_refresh": 0x67,
    "again": 0x05,
    "alt_r": 0x38,
    "audiomute": 0x20,
    "audionext": 0x19,
    "audioplay": 0x22,
    "audioprev": 0x10,
    "audiostop": 0x24,
    "calculator": 0x21,
    "compose": 0x5D,
    "computer": 0x6B,
    "copy": 0x78,
    "ctrl_r": 0x1D,
    "cut": 0x3C,
    "delete": 0x53,
    "down": 0x50,
    "end": 0x4F,
    "f17": 0x03,
    "f18": 0x77,
    "f19": 0x04,
    "f22": 0x79,
    "find": 0x41,
    "front": 0x0C,
    "help": 0x75,
    "home": 0x47,
    "insert": 0x52,
    "kp_divide": 0x35,
    "kp_enter": 0x1C,
    "left": 0x4B,
    "mail": 0x6C,
    "mediaselect": 0x6D,
    "menu": 0x1E,
    "meta_l": 0x5B,
    "meta_r": 0x5C,
    "pause": 0x46,
    "pgdn": 0x51,
    "pgup": 0x49,
    "power": 0x5E,
    "props": 0x06,
    "right": 0x4D,
    "sleep": 0x5F,
    "stop": 0x68,
    "undo": 0x07,
    "up": 0x48,
    "volumedown": 0x2E,
    "volumeup": 0x30,
    "wake": 0x63,
}
"""Keys behind 0xe0."""

_NAMED_ONLY: Final = frozenset({"lang1", "lang2"})
"""Keys that QEMU knows by name and that have no scancode below 0x80."""

_SCANCODES: Final[Mapping[str, tuple[int, ...]]] = {
    **{name: (code,) for code, name in enumerate(_FIRST_KEYBOARD.split(), start=1)},
    **{name: (code,) for name, code in _LATER.items()},
    **{name: (EXTENDED, code) for name, code in _EXTENDED.items()},
}

NAMES: Final = frozenset(_SCANCODES) | _NAMED_ONLY
"""Every key, by QEMU's name. `f13` to `f24` are known to QEMU 8.0 and later."""


def canonical(name: str) -> str:
    """QEMU's name of the key. Raises LookupError when no key has this name."""
    known = ALIASES.get(name, name)
    if known not in NAMES:
        raise LookupError(name)
    return known


def scancode(name: str) -> tuple[int, ...]:
    """The bytes that tell in set 1 that the key went down: one below 0x80, or two of which the first is EXTENDED.

    When it goes up, the last byte has its top bit set. Raises LookupError when no key has this name, or when the key
    has no scancode. Source: the "AT set1" column of QEMU's keycodemapdb.
    """
    return _SCANCODES[canonical(name)]
