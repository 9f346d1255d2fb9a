import pytest

from quarterdeck.machines import keys


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a"), ("ctrl", "ctrl"), ("del", "delete"), ("enter", "ret"), ("space", "spc"), ("f12", "f12")],
)
def test_everyday_names_become_those_of_qemu(name: str, expected: str) -> None:
    """S2-9, S2-10"""
    assert keys.canonical(name) == expected


@pytest.mark.parametrize("name", ["", "A", "ctrl+c", "unmapped", "no_such_key"])
def test_a_name_of_no_key_is_refused(name: str) -> None:
    """S2-25F"""
    with pytest.raises(LookupError):
        keys.canonical(name)
    with pytest.raises(LookupError):
        keys.scancode(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("esc", (0x01,)),
        ("0", (0x0B,)),
        ("ret", (0x1C,)),
        ("a", (0x1E,)),
        ("z", (0x2C,)),
        ("spc", (0x39,)),
        ("f10", (0x44,)),
        ("kp_7", (0x47,)),
        ("less", (0x56,)),
        ("f11", (0x57,)),
        ("f12", (0x58,)),
        ("alt_r", (0xE0, 0x38)),
        ("up", (0xE0, 0x48)),
        ("del", (0xE0, 0x53)),
        ("meta_l", (0xE0, 0x5B)),
    ],
)
def test_scancodes_are_those_of_set_1(name: str, expected: tuple[int, ...]) -> None:
    """S2-22F"""
    assert keys.scancode(name) == expected


def test_a_scancode_leaves_the_bit_of_release_free() -> None:
    """S2-22F"""
    for name in keys.NAMES - {"lang1", "lang2"}:
        *prefix, code = keys.scancode(name)
        assert prefix in ([], [keys.EXTENDED])
        assert 0 < code < 0x80


def test_a_key_without_a_scancode_says_so() -> None:
    with pytest.raises(LookupError):
        keys.scancode("lang1")


def test_every_alias_leads_to_a_key_and_hides_none() -> None:
    for alias, name in keys.ALIASES.items():
        assert name in keys.NAMES
        assert alias not in keys.NAMES
