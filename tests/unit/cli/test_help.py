"""What `--help` tells: all verbs in a line each, and of one verb everything."""

import pytest

from quarterdeck.cli import main


def test_help_lists_every_verb_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call(["--help"]) == 0

    told = capsys.readouterr().out
    assert "Run a command on many machines and watch it." in told
    assert "Exit code" not in told


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("run", "qd run -l role=web -- systemctl restart nginx"),
        ("run", "on one machine the remote exit code"),
        ("cancel", "wait for the proof"),
        ("rebuild", "this is for when none runs"),
    ],
)
def test_help_of_a_verb_is_its_own_with_examples(
    verb: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the command of `run` goes is to be seen nowhere else on the command line."""
    assert main.call([verb, "--help"]) == 0

    assert told in " ".join(capsys.readouterr().out.split())
