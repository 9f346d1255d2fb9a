"""What the dialect agent_service can carry, and how."""

import subprocess

import msgspec
import pytest

from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.gateway.foreign.agent_service_frames import (
    Content,
    NotCarried,
    content_of,
    decode,
    facts_of,
    timeout_seconds,
)
from quarterdeck.wire.agent_service import agent_service_pb2 as pb
from quarterdeck.wire.agent_v1 import agent_pb2 as native


def _spec(command_type: str, payload: bytes, **fields: object) -> native.CommandSpec:
    return native.CommandSpec(command_type=command_type, payload=payload, **fields)  # type: ignore[arg-type]  # the test's


def test_shell_command_goes_as_it_is() -> None:
    content = content_of(_spec("shell", b'{"command": "df -h | head"}'), "", {})

    assert content == Content(pb.ADHOC_COMMAND, "df -h | head")


def test_script_goes_as_its_text() -> None:
    """S4-39F"""
    content = content_of(_spec("shell", b'{"script": "#!/bin/sh\\necho hi\\n"}'), "", {})

    assert content == Content(pb.SAVED_SCRIPT, "#!/bin/sh\necho hi\n")


@pytest.mark.parametrize(
    "argv",
    [
        ["printf", "%s|", "a b", "$HOME", "`id`", "it's", "", "*", "-n"],
        ["env", "A=b c", "sh", "-c", "echo $A"],
    ],
)
def test_a_shell_runs_exactly_the_argv(argv: list[str]) -> None:
    """S0-28: words never become code."""
    line = content_of(_spec("exec", msgspec.json.encode({"argv": argv})), "", {}).text

    direct = subprocess.run(argv, capture_output=True, check=True)
    through_shell = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    assert through_shell.stdout == direct.stdout


@pytest.mark.parametrize("program", ["A=b", "if", "eval", "cd"])
def test_first_word_is_a_program_and_nothing_of_the_shell(program: str) -> None:
    """S0-28: a keyword, a built-in or an assignment in its place finds no program of that name."""
    line = content_of(_spec("exec", msgspec.json.encode({"argv": [program, "echo ran"]})), "", {}).text

    ran = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False, env={"PATH": "/nowhere"})

    assert ran.returncode == 127
    assert ran.stdout == b""


@pytest.mark.parametrize(
    ("spec", "guest", "why"),
    [
        (_spec("restart", b"{}"), "", "exec and shell only"),
        (_spec("catalogue", b'{"ident": "ps"}'), "", "exec and shell only"),
        (_spec("shell", b'{"command": "id"}'), "vm-1", "no guests"),
        (_spec("shell", b'{"command": "id"}', env={"A": "b"}), "", "no environment"),
        (_spec("shell", b"{}"), "", "invalid payload"),
        (_spec("shell", b'{"command": "id", "script": "id"}'), "", "invalid payload"),
        (_spec("shell", b'{"command": 7}'), "", "invalid payload"),
        (_spec("exec", b'{"argv": []}'), "", "invalid payload"),
        (_spec("exec", b'{"argv": ["-c", "id"]}'), "", "invalid payload"),
        (_spec("exec", b"not json"), "", "invalid payload"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(
    spec: native.CommandSpec, guest: str, why: str
) -> None:
    with pytest.raises(NotCarried, match=why):
        content_of(spec, guest, {})


def test_argv_is_not_quoted_for_a_shell_that_reads_otherwise() -> None:
    """S0-28"""
    spec = _spec("exec", b'{"argv": ["dir", "a & del b"]}')

    with pytest.raises(NotCarried, match="POSIX"):
        content_of(spec, "", {"os_type": "Windows"})


@pytest.mark.parametrize(
    ("timeout_ms", "seconds"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (3_600_000, 3600), (2**45, 2**32 - 1)]
)
def test_timeout_is_never_shorter_than_ordered(timeout_ms: int, seconds: int) -> None:
    """S4-29"""
    assert timeout_seconds(timeout_ms) == seconds


def test_facts_have_the_names_of_our_own_agents() -> None:
    handshake = pb.AgentHandshake(
        os_type="linux",
        os_name="Debian",
        arch="x86_64",
        hostname="h" * 2000,
        public_ip_addresses=[f"192.0.2.{host}" for host in range(100)],
        kernel_version="6.1.0",
    )

    facts = facts_of(handshake)

    assert (facts["os"], facts["arch"], facts["kernel"]) == ("Debian", "x86_64", "6.1.0")
    assert len(facts["hostname"]) == 1024
    assert len(facts["public_ip_addresses"].split(",")) == 32
    assert "distribution" not in facts


@pytest.mark.parametrize("frame", [b"\xff", b"\x0a\x05ab", b"\x52\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_undecodable(frame: bytes) -> None:
    """The last one is a secret that is no UTF-8."""
    with pytest.raises(LinkRefused) as refused:
        decode(frame)

    assert refused.value.reason == LinkEnd.UNDECODABLE
