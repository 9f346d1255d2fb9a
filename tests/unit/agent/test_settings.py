"""What an agent may be told, and how it keeps its identity."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.agent.backoff import RECONNECT, REPLACED, Backoff
from quarterdeck.agent.credentials import Credentials, Enrolment, trusted_ca_pem
from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.executor.journal.entries import CommandKey
from quarterdeck.agent.executor.slots import Slots
from quarterdeck.agent.facts import host_facts
from quarterdeck.agent.front_launch import EXIT_USAGE
from quarterdeck.agent.main import main
from quarterdeck.agent.settings import (
    AgentSettings,
    ServerAddress,
    check_agent_id,
    default_agent_id,
    parse_labels,
)
from quarterdeck.contracts.ids import ID_PATTERN
from quarterdeck.contracts.links import Carrier
from quarterdeck.wire.join_token import JoinToken
from quarterdeck.wire.pki import CertificateAuthority
from tests.unit.agent.test_full_disk import largest_file


def settings(directory: Path, **more: object) -> AgentSettings:
    options: dict[str, object] = {
        "servers": (ServerAddress(Carrier.GRPC, "localhost", 1),),
        "data_dir": directory / "agent",
        "agent_id": "web-1",
        **more,
    }
    return AgentSettings(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quic://gateway.example:8474", ServerAddress(Carrier.QUIC, "gateway.example", 8474)),
        ("grpc://[::1]:20035", ServerAddress(Carrier.GRPC, "::1", 20035)),
    ],
)
def test_server_address_survives_its_text(text: str, expected: ServerAddress) -> None:
    assert ServerAddress.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", "gateway:1", "http://a:1", "quic://a", "quic://:1", "grpc://a:99999", "grpc://a:x"]
)
def test_bad_server_address_is_refused_saying_what_is_expected(text: str) -> None:
    with pytest.raises(BadAgentSettings, match="expected quic://host:port or grpc://host:port"):
        ServerAddress.parse(text)


@pytest.mark.parametrize("text", ["novalue", "=x", "bad key=x", "k=" + "x" * 300])
def test_bad_label_is_refused(text: str) -> None:
    with pytest.raises(BadAgentSettings):
        parse_labels([text])


def test_labels_keep_further_equal_signs() -> None:
    assert parse_labels(["a=1", "expr=x=y", "empty="]) == {"a": "1", "expr": "x=y", "empty": ""}


@pytest.mark.parametrize("agent_id", ["", "a.b", "a b", "*", "x" * 65, "a\n"])
def test_agent_id_outside_the_pattern_is_refused(agent_id: str) -> None:
    with pytest.raises(BadAgentSettings):
        check_agent_id(agent_id)


def test_default_agent_id_fits_the_pattern() -> None:
    assert ID_PATTERN.match(default_agent_id())


@pytest.mark.usefixtures("logging_restored")
def test_wrong_arguments_end_with_the_usage_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["--server", "nowhere", "--data-dir", str(tmp_path)])

    assert code == EXIT_USAGE
    assert "expected quic://" in capsys.readouterr().err


@pytest.mark.usefixtures("logging_restored")
def test_data_directory_that_cannot_be_made_ends_with_the_usage_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Named, and not a traceback."""
    file = tmp_path / "file"
    file.touch()

    code = main(["--server", "grpc://127.0.0.1:1", "--data-dir", str(file / "agent"), "--agent-id", "a1"])

    assert code == EXIT_USAGE
    assert f"{file} is not a directory" in "".join(capsys.readouterr())


def test_agent_without_enrolment_or_token_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(BadAgentSettings, match="join token"):
        Credentials.load(settings(tmp_path))


def test_enrolment_belongs_to_one_agent_id(tmp_path: Path) -> None:
    """A data directory that is reused under another id does not lend its enrolment."""
    token = str(JoinToken.create(b"certificate"))
    first = Credentials.load(settings(tmp_path, join_token=token))
    first.enrolled(Enrolment(tenant="acme", agent_id="web-1"))

    again = Credentials.load(settings(tmp_path))
    other = Credentials.load(settings(tmp_path, agent_id="web-2", join_token=token))

    assert (again.enrolment, again.key.public_key) == (
        Enrolment(tenant="acme", agent_id="web-1"),
        first.key.public_key,
    )
    assert other.enrolment is None
    assert first.join_secret is None


def test_ca_of_the_join_token_is_kept(tmp_path: Path) -> None:
    authority = CertificateAuthority.create()
    token = str(JoinToken.create(authority.certificate_der))

    from_token = trusted_ca_pem(settings(tmp_path, join_token=token))

    assert from_token == trusted_ca_pem(settings(tmp_path)) == authority.certificate_pem


def test_full_disk_keeps_no_front_from_starting_again(tmp_path: Path) -> None:
    """S4-33: the CA is there already, and must not be emptied by writing it once more."""
    authority = CertificateAuthority.create()
    token = str(JoinToken.create(authority.certificate_der))
    trusted_ca_pem(settings(tmp_path, join_token=token))

    with largest_file(0):
        again = trusted_ca_pem(settings(tmp_path, join_token=token))

    assert again == trusted_ca_pem(settings(tmp_path)) == authority.certificate_pem


def test_every_fact_has_a_value() -> None:
    assert all(host_facts().values())


def test_back_off_grows_to_its_cap_and_starts_anew_after_a_link() -> None:
    """S1-27: jittered, capped."""
    backoff = Backoff(rng=random.Random(1))
    waits = [backoff.next_s() for _ in range(50)]
    backoff.reset()

    assert waits[0] <= RECONNECT.first_s
    assert RECONNECT.cap_s / 2 < max(waits) <= RECONNECT.cap_s
    assert len(set(waits)) == 50
    assert backoff.next_s() <= RECONNECT.first_s
    assert backoff.next_s(REPLACED) >= 30


def test_slots_start_by_priority_within_their_bound_and_gate() -> None:
    started: list[str] = []
    gate_open = True
    slots = Slots(2, lambda: gate_open)

    def submit(name: str, priority: int) -> None:
        slots.submit(CommandKey(name, 1), lambda: started.append(name), priority=priority, size_bytes=10)

    for name, priority in [("a", 1), ("b", 1), ("low", 1), ("gone", 9), ("high", 10), ("mid", 5)]:
        submit(name, priority)
    assert started == ["a", "b"]
    assert slots.withdraw(CommandKey("gone", 1))
    assert not slots.withdraw(CommandKey("a", 1))
    assert slots.waiting_bytes == 30

    gate_open = False
    slots.release()
    assert started == ["a", "b"]
    gate_open = True
    slots.advance()
    slots.release()
    slots.release()
    assert started == ["a", "b", "high", "mid", "low"]
    assert slots.waiting_bytes == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--guest-sockets", "vnc=/run/{guest}/vnc.sock"), "guest sockets: "),
        (("--guest-sockets", "qmp=/run/qmp.sock"), "guest sockets: "),
        (("--libvirt", "qemu:///system"), "libvirt-python is not installed"),
    ],
)
def test_agent_that_cannot_look_for_guests_as_told_does_not_start(
    options: tuple[str, str], said: str, tmp_path: Path
) -> None:
    """S2-25F: a pattern that can find nothing, or a library that is missing, is told at once."""
    arguments = [
        "--server",
        "grpc://localhost:1",
        "--data-dir",
        str(tmp_path),
        "--role",
        "executor",
        *options,
    ]

    ended = subprocess.run(
        [sys.executable, "-m", "quarterdeck.agent", *arguments], capture_output=True, text=True, check=False
    )

    assert ended.returncode == EXIT_USAGE
    assert said in ended.stdout + ended.stderr
