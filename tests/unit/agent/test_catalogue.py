"""Commands by name: what reaches the shell, what is refused, and what a file may say."""

import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.catalogue import (
    STANDARD,
    Catalogue,
    NamedCommand,
    check_catalogue,
    load_catalogue,
    script_of,
)
from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.executor.shell import InvalidPayload
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.agent_calls import CommandParam
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation
from tests.unit.agent.crash import after_kill, successor

SHOW = NamedCommand(
    ident="show",
    cmd="printf '<%s>' {first} {second} end",
    params=(
        CommandParam(name="first", regex=r"(?s:.*)", required=True),
        CommandParam(name="second", regex=r"[a-z]{1,3}"),
    ),
)
CATALOGUE = Catalogue((SHOW,))


def plan(payload: object, catalogue: Catalogue = CATALOGUE) -> tuple[str, ...]:
    return catalogue.plan_for(json.dumps(payload).encode()).argv


def test_values_are_positional_arguments_and_never_text_of_the_shell() -> None:
    """S0-28, S1-28"""
    argv = plan({"ident": "show", "params": {"first": "$(id); rm -rf /", "second": "abc"}})
    assert argv == (
        "/bin/sh",
        "-c",
        'printf \'<%s>\' "${1}" ${2:+"${2}"} end',
        "show",
        "$(id); rm -rf /",
        "abc",
    )


@given(
    st.text(
        alphabet=st.characters(codec="utf-8", exclude_characters="\0"),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_a_regex_lets_through_arrives_as_one_word(value: str) -> None:
    """S0-28"""
    argv = plan({"ident": "show", "params": {"first": value}})
    shown = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    assert shown.stdout.decode() == f"<{value}><end>"


def test_a_process_whose_namespaces_are_entered_is_named_by_its_pid() -> None:
    """S1-10"""
    argv = plan({"ident": "show", "params": {"first": "x"}, "linux_ns_pid": 4711})
    assert argv[:5] == ("nsenter", "--all", "--target", "4711", "--")
    assert argv[5] == "/bin/sh"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"ident": "nosuch"}, "unknown command: nosuch"),
        ({"ident": "show"}, "first is required"),
        ({"ident": "show", "params": {"first": "a", "third": "b"}}, "show has no parameter third"),
        ({"ident": "show", "params": {"first": "a", "second": "abcd"}}, "second does not fit"),
        ({"ident": "show", "params": {"first": "a", "second": "abc\n"}}, "second does not fit"),
        ({"ident": "show", "params": {"first": "a\0b"}}, "first does not fit"),
        ({"ident": "show", "params": {"first": "x" * 4097}}, "first does not fit"),
        ({"ident": "show", "params": {"first": 1}}, "invalid payload"),
        ({"ident": "show", "params": {"first": "a"}, "linux_ns_pid": 0}, "invalid payload"),
        ({"ident": "show", "params": {"first": "a"}, "cmd": "id"}, "invalid payload"),
        ("show", "invalid payload"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(payload: object, text: str) -> None:
    """S0-28, S0-21"""
    with pytest.raises(InvalidPayload, match=text):
        plan(payload)


@pytest.mark.parametrize(
    ("cmd", "script"),
    [
        ("cat {p}", 'cat "${1}"'),
        ("awk '{print $1}' {p} | head -${N}", "awk '{print $1}' \"${1}\" | head -${N}"),
        (r"echo \{ {p}", r'echo \{ "${1}"'),
        ("echo 'it'\"'\"'s' {p}", "echo 'it'\"'\"'s' \"${1}\""),
    ],
)
def test_the_shells_own_braces_stay(cmd: str, script: str) -> None:
    """S0-28"""
    param = CommandParam(name="p", regex="x", required=True)
    assert script_of(NamedCommand(ident="c", cmd=cmd, params=(param,))) == script


@pytest.mark.parametrize(
    ("cmd", "regex", "text"),
    [
        ("echo '{p}'", "x", "inside quotes"),
        ('echo "a {p}"', "x", "inside quotes"),
        (r"echo \{p}", "x", "inside quotes"),
        ("echo ${p}", "x", "no placeholder for p"),
        ("echo", "x", "no placeholder for p"),
        ("echo {p}", "", "no regex"),
        ("echo {p}", "(", "regex of p"),
    ],
)
def test_a_command_that_cannot_be_called_safely_is_refused_at_the_start(
    cmd: str, regex: str, text: str
) -> None:
    """S0-28"""
    param = CommandParam(name="p", regex=regex, required=True)
    with pytest.raises(ValueError, match=text):
        check_catalogue(Catalogue((NamedCommand(ident="c", cmd=cmd, params=(param,)),)))


def test_the_standard_commands_are_sound() -> None:
    """S1-9"""
    check_catalogue(STANDARD)
    assert {"ps", "ip addr"} <= {command.ident for command in STANDARD.commands}


def test_a_file_is_read_with_its_parameters(tmp_path: Path) -> None:
    """S1-9"""
    path = tmp_path / "catalogue.toml"
    path.write_text(
        """
        [[command]]
        ident = "ip addr of"
        cmd = "ip addr show dev {dev}"
        type_name = "network"

        [[command.params]]
        name = "dev"
        regex = "[a-z0-9]{1,15}"
        required = true

        [[command]]
        ident = "verbose"
        cmd = "echo {on}"
        params = [{name = "on", param_type = "PF_BOOLEAN"}]
        """
    )
    catalogue = load_catalogue(path)
    assert plan({"ident": "ip addr of", "params": {"dev": "eth0"}}, catalogue)[-1] == "eth0"
    assert plan({"ident": "verbose", "params": {"on": "true"}}, catalogue)[-1] == "true"
    with pytest.raises(InvalidPayload):
        plan({"ident": "verbose", "params": {"on": "maybe"}}, catalogue)


@pytest.mark.parametrize(
    "text",
    [
        "[[command]",
        "[[command]]\nident = 'a'",
        "[[command]]\nident = ''\ncmd = 'x'",
        "[[command]]\nident = 'a'\ncmd = 'x'\ncolour = 'red'",
        "[[command]]\nident = 'a'\ncmd = 'x'\n[[command]]\nident = 'a'\ncmd = 'y'",
        "[[command]]\nident = 'a'\ncmd = 'x {p}'\nparams = [{name = 'p'}]",
    ],
)
def test_a_bad_file_is_a_setting_that_says_what_is_wrong(tmp_path: Path, text: str) -> None:
    """S0-28"""
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(BadAgentSettings, match="catalogue"):
        load_catalogue(path)
    with pytest.raises(BadAgentSettings, match="catalogue"):
        load_catalogue(tmp_path / "missing.toml")


class TestExecutor:
    @pytest.fixture
    def settings(self, settings: ExecutorSettings) -> ExecutorSettings:
        return msgspec.structs.replace(settings, catalogue=CATALOGUE)

    async def test_a_named_command_runs_as_a_process_with_its_output(
        self, link: Conversation, executor: Executor
    ) -> None:
        """S1-8, S1-9"""
        key = await link.order("catalogue", {"ident": "show", "params": {"first": 'it\'s "here"'}})
        result = await link.result(key)
        assert (result.end, result.exit_code) == (pb.SUCCEEDED, 0)
        assert bytes(link.output[(*key, pb.STDOUT)].content) == b'<it\'s "here"><end>'
        assert "catalogue" in link.hello.capabilities

    async def test_a_call_that_does_not_fit_is_rejected_and_nothing_starts(self, link: Conversation) -> None:
        """S0-21"""
        key = await link.order("catalogue", {"ident": "nosuch"})
        rejected = await link.report(key, pb.Rejected)
        assert (rejected.reason, rejected.error) == ("invalid_payload", "unknown command: nosuch")

    async def test_a_call_that_waited_for_an_executor_with_another_catalogue_is_rejected(
        self, link: Conversation, settings: ExecutorSettings, tmp_path: Path
    ) -> None:
        """S4-33"""
        for _ in range(settings.max_parallel):
            await link.shell("sleep 100")
        key = await link.order("catalogue", {"ident": "show", "params": {"first": "x"}})
        await link.report(key, pb.Accepted)
        left = after_kill(settings, tmp_path / "next")
        async with successor(msgspec.structs.replace(left, catalogue=STANDARD)) as after:
            rejected = await after.report(key, pb.Rejected)
        assert (rejected.reason, rejected.error) == ("invalid_payload", "unknown command: show")


async def test_an_agent_without_a_catalogue_does_not_offer_one(link: Conversation) -> None:
    """S1-25"""
    assert "catalogue" not in link.hello.capabilities
    result = await link.result(await link.order("catalogue", {"ident": "ps"}))
    assert (result.end, result.error) == (pb.FAILED, "unknown command: catalogue")
