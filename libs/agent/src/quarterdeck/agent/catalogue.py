"""The catalogue: commands that this agent knows by name, with parameters, for callers who may not write shell text.

Owns the file's form and the way from a call to an argv. A value is matched whole against its parameter's regex and
reaches the shell as a positional argument, which no shell parses again: `{dev}` in a command becomes `"${1}"`. So a
placeholder must stand outside quotes, and a file in which one does not is refused. Called by the executor, which runs
what a call means, and by inventory.py, which lists the commands.

    [[command]]
    ident = "ip addr of"
    cmd = "ip addr show dev {dev}"
    type_name = "network"

    [[command.params]]
    name = "dev"
    regex = "[a-z0-9]{1,15}"
    required = true
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.executor.shell import InvalidPayload, Plan
from quarterdeck.contracts.agent_calls import CatalogueCall, CommandParam

_MAX_VALUE_CHARS: Final = 4096
_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ENTER_NAMESPACES: Final = ("nsenter", "--all", "--target")
"""Source: nsenter(1) of util-linux."""
_BOOLEAN: Final = "true|false"

_calls: Final = msgspec.json.Decoder(CatalogueCall)


class NamedCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[command]]` of the file."""

    ident: Annotated[str, Meta(min_length=1, max_length=128)]
    cmd: Annotated[str, Meta(min_length=1)]
    """For `/bin/sh -c`, with `{name}` for each of `params`."""
    type_name: str = ""
    output_format: Literal["TEXT", "BINARY"] = "TEXT"
    params: tuple[CommandParam, ...] = ()


class Catalogue(msgspec.Struct, frozen=True):
    """Named commands, each of them checked. Empty: this agent runs none by name."""

    commands: tuple[NamedCommand, ...] = ()

    def plan_for(self, payload: bytes) -> Plan:
        """`payload`: a CatalogueCall as JSON. Raises InvalidPayload."""
        try:
            call = _calls.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidPayload(f"invalid payload: {error}") from None
        command = next((command for command in self.commands if command.ident == call.ident), None)
        if command is None:
            raise InvalidPayload(f"unknown command: {call.ident}")
        argv = ("/bin/sh", "-c", script_of(command), command.ident, *_values(command, call.params))
        if call.linux_ns_pid is not None:
            argv = (*_ENTER_NAMESPACES, str(call.linux_ns_pid), "--", *argv)
        return Plan(argv=argv)


STANDARD: Final = Catalogue(
    (
        NamedCommand(ident="ps", cmd="ps aux", type_name="process"),
        NamedCommand(ident="df", cmd="df -h", type_name="storage"),
        NamedCommand(ident="ip addr", cmd="ip addr", type_name="network"),
        NamedCommand(ident="uname", cmd="uname -a", type_name="system"),
    )
)
"""What an agent knows that was given no file: looks, and touches nothing."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    command: list[NamedCommand] = []


def load_catalogue(path: Path) -> Catalogue:
    """Raises BadAgentSettings naming what is wrong in the file."""
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=_File)
        catalogue = Catalogue(tuple(file.command))
        check_catalogue(catalogue)
    except (OSError, ValueError) as error:  # no TOML, another shape, no UTF-8, or what check_catalogue says
        raise BadAgentSettings(f"catalogue {path}: {error}", field="catalogue") from error
    return catalogue


def check_catalogue(catalogue: Catalogue) -> None:
    """Raises ValueError for a command that could not be called safely, or not at all."""
    idents = [command.ident for command in catalogue.commands]
    if len(set(idents)) < len(idents):
        raise ValueError("two commands of one ident")
    for command in catalogue.commands:
        for param in command.params:
            try:
                re.compile(_regex_of(param))
            except re.error as error:
                raise ValueError(f"{command.ident}: regex of {param.name}: {error}") from error
        script_of(command)


def script_of(command: NamedCommand) -> str:
    """What the shell is given: `cmd` with positional arguments for its placeholders, in the order of `params`.

    Raises ValueError for a placeholder inside quotes, and for a parameter without one.
    """
    positions = {param.name: number for number, param in enumerate(command.params, 1)}
    optional = {param.name for param in command.params if not param.required}
    used: set[str] = set()

    def positional(match: re.Match[str]) -> str:
        name = match[1]
        if name not in positions:
            return match[0]  # the shell's own braces
        if _quoted_at(command.cmd, match.start()):
            raise ValueError(f"{command.ident}: {{{name}}} stands inside quotes")
        used.add(name)
        argument = f'"${{{positions[name]}}}"'
        return f"${{{positions[name]}:+{argument}}}" if name in optional else argument

    script = _PLACEHOLDER.sub(positional, command.cmd)
    if unused := positions.keys() - used:
        raise ValueError(f"{command.ident}: no placeholder for {', '.join(sorted(unused))}")
    return script


def _quoted_at(text: str, position: int) -> bool:
    """Whether a shell sees quotes, or a backslash, at `position`. Source: POSIX.1-2024, Shell & Utilities 2.2."""
    quote, escaped = "", False
    for character in text[:position]:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    return bool(quote) or escaped


def _values(command: NamedCommand, given: dict[str, str]) -> tuple[str, ...]:
    if unknown := given.keys() - {param.name for param in command.params}:
        raise InvalidPayload(f"invalid payload: {command.ident} has no parameter {min(unknown)}")
    return tuple(_value(param, given.get(param.name, "")) for param in command.params)


def _value(param: CommandParam, value: str) -> str:
    if not value:
        if param.required:
            raise InvalidPayload(f"invalid payload: {param.name} is required")
        return ""
    if "\0" in value or len(value) > _MAX_VALUE_CHARS or not re.fullmatch(_regex_of(param), value):
        raise InvalidPayload(f"invalid payload: {param.name} does not fit {_regex_of(param)}")
    return value


def _regex_of(param: CommandParam) -> str:
    """Raises ValueError for text that anybody could choose freely."""
    regex = param.regex or (_BOOLEAN if param.param_type == "PF_BOOLEAN" else "")
    if not regex:
        raise ValueError(f"{param.name} has no regex")
    return regex
