"""What the words after `qd run` mean."""

from pathlib import Path

import pytest

from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.order import Payload, parse_env, payload_of


def test_one_word_is_read_by_a_shell_and_several_are_a_program() -> None:
    """Quoting decides, as it does for ssh; nothing is ever joined into a shell string."""
    assert payload_of(["df -h | tail"], None, None) == Payload("shell", {"command": "df -h | tail"})
    assert payload_of(["ls", "-l", "a b"], None, None) == Payload("exec", {"argv": ["ls", "-l", "a b"]})


def test_script_file_travels_whole(tmp_path: Path) -> None:
    """Its shebang is honoured on the machine."""
    script = tmp_path / "s.py"
    script.write_text("#!/usr/bin/env python3\nprint('hi')\n")

    assert payload_of([], script, None) == Payload("shell", {"script": script.read_text()})


def test_handlers_take_json() -> None:
    """S0-15: restart {delay_seconds}."""
    assert payload_of(['{"delay_seconds": 5}'], None, "restart") == Payload("restart", {"delay_seconds": 5})


@pytest.mark.parametrize("words", [[], ["[1]"], ["{"], ["{}", "{}"]])
def test_payload_of_a_handler_that_is_no_object_is_refused(words: list[str]) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError):
        payload_of(words, None, "restart")


def test_command_and_script_exclude_each_other(tmp_path: Path) -> None:
    """Neither is refused, too."""
    for words, script in (([], None), (["ls"], tmp_path)):
        with pytest.raises(UsageError, match="one of the two"):
            payload_of(words, script, None)


def test_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, one that is too large, one that is no text."""
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\xff\xfe\x00")
    large.write_bytes(b"x" * (256 * 1024 + 1))

    for path in (tmp_path / "missing", binary, large):
        with pytest.raises(UsageError, match=path.name):
            payload_of([], path, None)


def test_environment_is_given_as_pairs() -> None:
    """An empty value is a value."""
    assert parse_env(["A=1", "B=", "C=x=y"]) == {"A": "1", "B": "", "C": "x=y"}
    with pytest.raises(UsageError, match="NAME=value"):
        parse_env(["A"])
