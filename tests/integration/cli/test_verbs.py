"""The verbs against a real system: six services, NATS, Redis, agents over both carriers."""

import hashlib
import json
import sys
import time
from pathlib import Path

import pytest

from quarterdeck.testing.deck import Deck
from tests.integration.cli.conftest import Qd

pytestmark = pytest.mark.xdist_group("embedded")

ALL = ("agent-1", "agent-2", "agent-3", "agent-4")


def test_run_shows_every_answer_behind_its_machine(qd: Qd) -> None:
    """S4-17, S4-22: both carriers, one line each."""
    done = qd("run", "--all", "echo hello")

    assert sorted(done.text.split("\n")[:-1]) == [f"{name} │ hello" for name in ALL]
    assert "4 succeeded" in done.said


@pytest.mark.parametrize("agent", ["agent-1", "agent-2"])
def test_run_on_one_machine_is_like_a_local_command(qd: Qd, agent: str) -> None:
    """Bytes, streams and the exit code pass through, on either carrier."""
    done = qd("run", "-t", agent, "printf '\\000\\377'; echo oops >&2; exit 42", expect=42)

    assert done.out == b"\x00\xff"
    assert done.err == b"oops\n"


def test_argv_is_never_read_by_a_shell(qd: Qd) -> None:
    """S0-28: words stay words."""
    done = qd("run", "-t", "agent-1", "--", "printf", "%s|", "$HOME", "a b", "; reboot")

    assert done.out == b"$HOME|a b|; reboot|"


def test_script_runs_with_its_own_shebang_environment_and_directory(qd: Qd, tmp_path: Path) -> None:
    """S4-31: environment and working directory are the run's."""
    script = tmp_path / "script.py"
    script.write_text(f"#!{sys.executable}\nimport os\nprint(os.environ['GREETING'], os.getcwd())\n")

    done = qd("run", "-t", "agent-2", "--script", str(script), "-e", "GREETING=hi", "--cwd", str(tmp_path))

    assert done.text == f"hi {tmp_path}\n"


@pytest.mark.parametrize("targets", ["agent-1", "agent-1,agent-2"])
def test_what_could_not_be_started_says_why(qd: Qd, targets: str) -> None:
    """An exit code of 126 or 127 alone would be the shell's, with its words; these are the agent's."""
    nowhere = qd("run", "-t", targets, "--cwd", "/nonexistent", "true", expect=None)
    nothing = qd("run", "-t", targets, "--", "no-such-program", "-v", expect=None)

    assert "working directory /nonexistent: No such file or directory" in nowhere.said
    assert "no-such-program: No such file or directory" in nothing.said


def test_a_list_that_goes_to_a_program_has_its_ids_whole(qd: Qd, monkeypatch: pytest.MonkeyPatch) -> None:
    """`qd ls | awk`: however narrow the terminal of the user is."""
    batch_id = qd("run", "-d", "-t", "agent-1", "true").text.strip()
    monkeypatch.setenv("COLUMNS", "60")

    assert any(line.startswith(batch_id) for line in qd("ls").text.splitlines())
    assert all("Z" in line for line in qd("agents").text.splitlines() if line.startswith("agent-"))


def test_exit_codes_tell_failed_from_undelivered(qd: Qd) -> None:
    """2 when some failed; 1 for a machine that nobody knows."""
    failed = qd("run", "--all", 'case $PWD in *) [ -n "" ] ;; esac', expect=2)
    unknown = qd("run", "-t", "agent-1,nobody", "true", expect=1)

    assert "4 failed" in failed.said
    assert "nobody" in unknown.said


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "true"),
        ("run", "-t", "agent-1"),
        ("run", "-t", "a*", "true"),
        ("run", "-t", "agent-1", "--all", "true"),
        ("run", "-t", "agent-1", "--timeout", "soon", "true"),
        ("run", "-l", "carrier=pigeon", "true"),
        ("get", "no-id"),
        ("tail", "01a1fd3d-8ceb-7756-8152-cf5c919a2ccb"),
        ("nonsense",),
        ("cancel",),
        ("run", "-t", "agent-1", "--log-dir", "/dev/null/logs", "true"),
    ],
)
def test_usage_errors_exit_with_1_and_leave_nothing_behind(qd: Qd, arguments: tuple[str, ...]) -> None:
    """One line that says what was expected, no traceback."""
    before = json.loads(qd("ls", "--format", "json").out)

    done = qd(*arguments, expect=1)

    assert b"Traceback" not in done.err + done.out
    assert done.err + done.out
    assert json.loads(qd("ls", "--format", "json").out) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "-t", "agent-1", "ls", "-la"),
        ("run", "-t", "agent-1", "ls", "--almost-all"),
        ("vm", "exec", "agent-1/vm1", "ls", "--almost-all"),
    ],
)
def test_option_that_was_meant_for_the_command_is_told_where_to_go(
    qd: Qd, arguments: tuple[str, ...]
) -> None:
    """Everybody's first mistake with a command of several words."""
    assert "behind --" in qd(*arguments, expect=1).said


def test_selectors_choose_by_label(qd: Qd) -> None:
    """S4-1: the local agents carry their carrier as a label."""
    done = qd("run", "-l", "carrier=grpc", "--format", "json", "true")

    results = json.loads(done.out)["results"]
    assert [result["target"] for result in results] == ["agent-2", "agent-4"]


def test_identical_outputs_are_folded(qd: Qd) -> None:
    """Groups are shown with their machines."""
    done = qd("run", "--all", "--group", "echo same")

    shown = done.text
    assert "4 machines ok  agent-[1-4]" in shown
    assert shown.count("same") == 1


def test_log_dir_holds_the_exact_bytes(qd: Qd, tmp_path: Path) -> None:
    """S4-35: binary, larger than a chunk, per machine and stream."""
    script = "head -c 3000000 /dev/urandom | tee $OUT.$$ && sha256sum < $OUT.$$ >&2 && rm $OUT.$$"

    qd("run", "--all", "-e", f"OUT={tmp_path}/out", "--log-dir", str(tmp_path / "logs"), script)

    for name in ALL:
        content = (tmp_path / "logs" / f"{name}.stdout").read_bytes()
        told = (tmp_path / "logs" / f"{name}.stderr").read_text().split()[0]
        assert (len(content), hashlib.sha256(content).hexdigest()) == (3_000_000, told)


def test_detached_run_is_found_again(qd: Qd) -> None:
    """-d prints the id alone; ls, get, tail find it."""
    run_id = (qd("run", "-d", "--all", "--alias", "later", "echo found; sleep 0.3")).text.strip()

    followed = qd("tail", "-f", run_id)
    stored = qd("tail", run_id)
    shown = json.loads(qd("get", run_id, "--format", "json").out)
    listed = qd("ls")

    assert sorted(followed.out.split(b"\n")) == sorted(stored.out.split(b"\n"))
    assert stored.out.count(b"found") == len(ALL)
    assert shown["overall_status"] == "COMPLETED_SUCCESSFULLY"
    assert "later" in listed.text


def test_wait_that_ends_before_the_run_exits_with_3(qd: Qd) -> None:
    """And says how to watch it again; cancel then proves its end."""
    done = qd("run", "-t", "agent-1", "--wait", "500ms", "sleep 600", expect=3)
    run_id = done.said.split()[-1]

    cancelled = qd("cancel", run_id)

    assert "1 terminated" in cancelled.said


def test_handlers_payload_and_unknown_type(qd: Qd) -> None:
    """S0-12: a type that nobody registered fails with its name."""
    done = qd("run", "-t", "agent-1", "--type", "restart", "--format", "json", "{}", expect=2)

    assert json.loads(done.out)["results"][0]["error"] == "unknown command: restart"


def test_tokens_work_until_they_are_revoked(deck: Deck, qd: Qd) -> None:
    """S0-27."""
    token = qd("token", "create", "ci").text.strip()
    api = deck.ready["api"]
    qd("agents", "--url", api, "--token", token)
    listed = qd("token", "ls").text
    token_id = next(line.split()[0] for line in listed.splitlines() if " ci " in line)

    qd("token", "revoke", token_id)

    refused = None
    deadline_s = time.monotonic() + 10
    while refused is None and time.monotonic() < deadline_s:
        done = qd("agents", "--url", api, "--token", token, expect=None)
        refused = done if done.code else None
    assert refused is not None
    assert "QD_TOKEN" in refused.said


def test_join_token_is_printed_alone(qd: Qd) -> None:
    """So that a script can hand it on."""
    done = qd("token", "join", "--uses", "2", "--label", "role=web")

    assert done.out.startswith(b"qdj_")
    assert done.out.count(b"\n") == 1


def test_doctor_finds_nothing_wrong_with_a_healthy_system(qd: Qd) -> None:
    """Server, brokers, clock, token, machines, versions."""
    done = qd("doctor")

    assert "4 connected" in done.text
