"""What a running embedded system says of itself: addresses, tokens, process ids.

Owns the shape of the ready file and its atomic, private writing. Written by the supervisor whenever something was
restarted; read by the command line (to find a system without flags), by tests and by scripts.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from quarterdeck.contracts.errors import DecodeError

_OWNER_ONLY: Final = 0o600
"""The file carries the API token."""


class LocalAgent(msgspec.Struct, frozen=True, kw_only=True):
    carrier: str
    """`quic` or `grpc`."""
    pid: int


class ReadySystem(msgspec.Struct, frozen=True, kw_only=True):
    """The ready file. Everything in it is ready to use; process ids are those of the last restart."""

    api: str
    """Base URL, `http://127.0.0.1:8080`."""
    token: str
    """A bearer token for the API."""
    grpc: str
    """`host:port` of the first gRPC gateway."""
    quic: str
    """`host:port` of the first QUIC gateway, UDP."""
    plain_grpc: str | None = None
    """`host:port` of the first gRPC gateway's port without TLS, where it was asked for."""
    ca: str
    """Path of the CA certificate (PEM) that the gateways' certificates chain to."""
    join_token: str
    """Enrols agents, any number of them: an embedded system is for one operator."""
    nats: str
    redis: str
    data_dir: str
    pids: dict[str, int]
    """nats, redis, api, dispatcher, quic-gateway, grpc-gateway, aggregator, broadcaster; `quic-gateway-2` and so on."""
    agents: dict[str, LocalAgent] = {}
    up_pid: int = 0
    """The supervisor itself."""


def write(path: Path, system: ReadySystem) -> None:
    """Replaces `path` at once: a reader sees the old content or the new, never a piece."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(system)) + b"\n")
    beside.replace(path)


def read(path: Path) -> ReadySystem | None:
    """None when no system is ready there. Raises DecodeError when the file is something else, or not ours to read."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror}") from error
    try:
        return msgspec.json.decode(raw, type=ReadySystem)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"{path} is no ready file: {error}") from error


def remove(path: Path) -> None:
    """The system is about to stop. Missing is fine."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
