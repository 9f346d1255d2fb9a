"""Options of a request → CommandSpec. Every limit of one command is checked here."""

import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from quarterdeck.api.handlers.requests import Options, Preset, RetryBody, Seconds
from quarterdeck.contracts.commands import CommandSpec, Retry, TimeoutClock
from quarterdeck.contracts.errors import InvalidInput, InvalidTimeout, PayloadTooLarge, UnsupportedValue
from quarterdeck.contracts.ids import check_uuid
from quarterdeck.contracts.json_text import check_json
from quarterdeck.contracts.limits import (
    DEFAULT_GRACE_MS,
    DEFAULT_MAX_OUTPUT_BYTES,
    DEFAULT_TIMEOUT_MS,
    MAX_DEPENDENCIES,
    MAX_OUTPUT_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TIMEOUT_MS,
    PRIORITY_DEFAULT,
    TIMEOUT_PRESETS_MS,
)

SHELL: Final = "shell"
EXEC: Final = "exec"

_COMMAND_TYPE: Final = re.compile(r"\A[A-Za-z0-9_.-]{1,64}\Z")
_MAX_PATH_BYTES: Final = 4096
"""Linux's PATH_MAX."""
_MAX_BACKOFF_MS: Final = 3600 * 1000
_LATER: Final = ("selector", "waves", "max_failures")


class _ShellPayload(msgspec.Struct, frozen=True):
    command: str | None = None
    script: str | None = None


class _ExecPayload(msgspec.Struct, frozen=True):
    argv: list[str]


def build_spec(
    options: Options, *, command_type: str, payload: bytes, timeout_from: TimeoutClock
) -> CommandSpec:
    """`payload`: JSON text. Raises InvalidInput and its kin, naming the member."""
    for name in _LATER:
        if getattr(options, name) is not UNSET:
            raise UnsupportedValue(f"{name}: not supported yet", field=name)
    _check_payload(command_type, payload)
    _check_surroundings(options, payload)
    retry = options.retry or RetryBody()
    _check_range("retry.max_attempts", retry.max_attempts, 1, 10)
    _check_range("retry.backoff_ms", retry.backoff_ms, 0, _MAX_BACKOFF_MS)
    priority = PRIORITY_DEFAULT if options.priority is None else options.priority
    _check_range("priority", priority, 1, 10)
    kept_bytes = DEFAULT_MAX_OUTPUT_BYTES if options.max_output_bytes is None else options.max_output_bytes
    _check_range("max_output_bytes", kept_bytes, 1, MAX_OUTPUT_BYTES)
    timeout_ms = _timeout_ms(options.timeout)
    grace_ms = _span_ms("grace", options.grace, least_ms=0)
    return CommandSpec(
        command_type=command_type,
        payload=payload,
        working_directory=options.working_directory,
        env=options.env or {},
        timeout_ms=DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms,
        timeout_from=timeout_from,
        no_output_timeout_ms=_span_ms("no_output_timeout", options.no_output_timeout),
        grace_ms=DEFAULT_GRACE_MS if grace_ms is None else grace_ms,
        priority=priority,
        queue_for_ms=_span_ms("queue_for", options.queue_for),
        retry=Retry(max_attempts=retry.max_attempts, backoff_ms=retry.backoff_ms),
        max_output_bytes=kept_bytes,
        depends_on=_dependencies(options.depends_on),
    )


def payload_bytes(payload: Raw | UnsetType) -> bytes:
    """JSON text as it came; a payload that was left out is null."""
    return b"null" if isinstance(payload, UnsetType) else bytes(payload)


def shell_payload(content: str) -> bytes:
    """`content`: what `/bin/sh -c` is to run."""
    return msgspec.json.encode({"command": content})


def check_command_type(command_type: str, field: str) -> None:
    """Raises InvalidInput naming `field`."""
    if not _COMMAND_TYPE.match(command_type):
        raise InvalidInput(f"{field}: expected 1 to 64 of A-Z a-z 0-9 _ . -", field=field, value=command_type)


def _timeout_ms(timeout: Seconds | Preset | None) -> int | None:
    return TIMEOUT_PRESETS_MS[timeout] if isinstance(timeout, str) else _span_ms("timeout", timeout)


def _dependencies(ids: list[str]) -> tuple[str, ...]:
    """Each once, in canonical text. Whether there are such commands is for the store to say."""
    if len(ids) > MAX_DEPENDENCIES:
        raise InvalidInput(f"depends_on: {len(ids)} ids, limit {MAX_DEPENDENCIES}", field="depends_on")
    return tuple(dict.fromkeys(check_uuid(one, f"depends_on[{index}]") for index, one in enumerate(ids)))


def _span_ms(field: str, seconds: Seconds | None, *, least_ms: int = 1) -> int | None:
    """Raises InvalidTimeout unless `seconds` is absent or within `least_ms` … MAX_TIMEOUT_MS."""
    if seconds is None:
        return None
    if not least_ms <= seconds * 1000 <= MAX_TIMEOUT_MS:
        raise InvalidTimeout(
            f"{field}: expected more than 0 and at most {MAX_TIMEOUT_MS // 1000} seconds",
            field=field,
            value=seconds,
        )
    return round(seconds * 1000)


def _check_range(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(f"{field}: expected {least} to {most}", field=field, value=value)


def _check_payload(command_type: str, payload: bytes) -> None:
    check_command_type(command_type, "command_type")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"payload: {len(payload)} bytes, limit {MAX_PAYLOAD_BYTES}", field="payload", value=len(payload)
        )
    check_json(payload, "payload")
    try:
        if command_type == SHELL:
            _check_shell(msgspec.json.decode(payload, type=_ShellPayload))
        elif command_type == EXEC:
            _check_argv(msgspec.json.decode(payload, type=_ExecPayload).argv)
    except msgspec.ValidationError as error:
        wanted = '{"command": …} or {"script": …}' if command_type == SHELL else '{"argv": […]}'
        raise InvalidInput(f"payload: {command_type} takes {wanted}", field="payload") from error


def _check_shell(shell: _ShellPayload) -> None:
    text = shell.command if shell.script is None else shell.script
    if (shell.command is None) == (shell.script is None):
        raise InvalidInput("payload: exactly one of command and script is required", field="payload")
    if not text or "\0" in text:
        field = "payload.command" if shell.script is None else "payload.script"
        raise InvalidInput(f"{field}: expected text without NUL", field=field)


def _check_argv(argv: list[str]) -> None:
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise InvalidInput("payload.argv: expected a program and words without NUL", field="payload.argv")


def _check_surroundings(options: Options, payload: bytes) -> None:
    directory = options.working_directory
    if directory is not None and (
        not directory or "\0" in directory or len(directory.encode()) > _MAX_PATH_BYTES
    ):
        raise InvalidInput("working_directory: expected a path without NUL", field="working_directory")
    env = options.env or {}
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise InvalidInput("env: expected names without = and nothing with NUL", field="env")
    # Payload and environment travel in one message.
    env_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in env.items())
    if len(payload) + env_bytes > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"env: payload and env are {len(payload) + env_bytes} bytes, limit {MAX_PAYLOAD_BYTES}",
            field="env",
        )
