"""What the words after `qd run` mean: which command type, with which payload.

Owns the three forms. Pure, apart from reading the script file. Called by `run`.

    qd run -t web-1 'systemctl status nginx | head'     one word: a shell reads it
    qd run -t web-1 -- systemctl status nginx           several words: argv, no shell
    qd run -t web-1 --script deploy.sh                  a file, with its own shebang
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quarterdeck.cli.errors import UsageError
from quarterdeck.contracts.limits import MAX_PAYLOAD_BYTES


class Payload(NamedTuple):
    command_type: str
    members: dict[str, Any]


def payload_of(words: Sequence[str], script: Path | None, command_type: str | None) -> Payload:
    """Exactly one of words and script. `command_type`: a handler's, whose payload is the one word, as JSON.

    Raises UsageError.
    """
    if (script is None) == (not words):
        raise UsageError("give a command, or a file with --script; one of the two")
    if command_type is not None:
        return Payload(command_type, _handler_payload(words))
    if script is not None:
        return Payload("shell", {"script": _read(script)})
    if len(words) == 1:
        return Payload("shell", {"command": words[0]})
    return Payload("exec", {"argv": list(words)})


def parse_env(pairs: Iterable[str]) -> dict[str, str]:
    """`["A=1", "B="]` → a dict. Raises UsageError when there is no `=`."""
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{pair!r} is no variable; write NAME=value")
        env[name] = value
    return env


def _handler_payload(words: Sequence[str]) -> dict[str, Any]:
    try:
        members = json.loads(words[0]) if len(words) == 1 else None
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise UsageError("--type takes one JSON object, such as '{\"delay_seconds\": 5}'")
    return members


def _read(script: Path) -> str:
    try:
        raw = script.read_bytes()
    except OSError as error:
        raise UsageError(f"--script {script}: {error.strerror}") from error
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise UsageError(f"--script {script}: {len(raw)} bytes, limit {MAX_PAYLOAD_BYTES}")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UsageError(f"--script {script}: no UTF-8 text") from None
