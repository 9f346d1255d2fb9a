"""When the answer of a DeepFlow agent is complete, and what it then says."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.states import CommandState
from quarterdeck.gateway.foreign.deepflow_answer import (
    AnswerEnd,
    CommandsAnswer,
    NamespacesAnswer,
    RunAnswer,
)
from quarterdeck.wire.deepflow import agent_pb2 as df


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def chunk(content: bytes, **fields: object) -> df.RemoteExecResponse:
    """`fields`: further members of the DataChunk."""
    result = df.DataChunk(content=content, **fields)  # type: ignore[arg-type]  # fields come from the test
    return df.RemoteExecResponse(request_id=2, command_result=result)


def run(*responses: df.RemoteExecResponse) -> tuple[bytes, AnswerEnd | None]:
    """All content, and the end; nothing may follow an end."""
    answer, content, end = RunAnswer(), b"", None
    for response in responses:
        assert end is None
        taken = answer.take(response)
        content += taken.content
        end = taken.end
    return content, end


def test_content_with_its_md5_is_a_success() -> None:
    """S1-8"""
    assert run(chunk(b"up 3 days", md5=md5(b"up 3 days"), total_len=9)) == (
        b"up 3 days",
        AnswerEnd(state=CommandState.SUCCEEDED, exit_code=0),
    )


def test_chunks_are_output_before_the_end_is_known() -> None:
    """S1-7, S1-20"""
    answer = RunAnswer()
    assert answer.take(chunk(b"one ", total_len=7)) == (b"one ", None)
    assert answer.take(chunk(b"two", total_len=7, md5=md5(b"one two"))).end == AnswerEnd(
        state=CommandState.SUCCEEDED, exit_code=0
    )


@pytest.mark.parametrize("said", [md5(b"other"), md5(b"content").upper(), "no digest"])
def test_another_md5_fails_the_command(said: str) -> None:
    """S1-8"""
    content, end = run(chunk(b"content", md5=said))
    assert content == b"content"
    assert end is not None
    assert (end.state, end.reason) == (CommandState.FAILED, "md5_mismatch")


def test_errmsg_without_content_is_the_whole_answer() -> None:
    """S1-18"""
    refused = df.RemoteExecResponse(request_id=2, errmsg="command not found for id x")
    _, end = run(refused)
    assert end == AnswerEnd(state=CommandState.FAILED, error="command not found for id x")


def test_errno_of_a_failed_command_is_its_exit_code() -> None:
    """S1-18"""
    failed = chunk(b"", errno=2)
    failed.errmsg = "ls: cannot access 'x'"
    assert run(failed)[1] == AnswerEnd(state=CommandState.FAILED, error="ls: cannot access 'x'", exit_code=2)


def test_output_and_errmsg_together_are_output_of_a_failure() -> None:
    """S1-18"""
    failed = chunk(b"partial", errno=1, md5=md5(b"partial"), total_len=7)
    failed.errmsg = "it broke"
    assert run(failed) == (
        b"partial",
        AnswerEnd(state=CommandState.FAILED, error="it broke", exit_code=1),
    )


def test_errno_alone_is_a_failure() -> None:
    _, end = run(chunk(b"out", errno=3, md5=md5(b"out")))
    assert end == AnswerEnd(state=CommandState.FAILED, error="exit code 3", exit_code=3)


def test_empty_errmsg_is_still_an_error() -> None:
    _, end = run(df.RemoteExecResponse(request_id=2, errmsg=""))
    assert end is not None
    assert end.state is CommandState.FAILED
    assert end.error


def test_empty_chunk_without_md5_is_a_success_without_output() -> None:
    _, end = run(chunk(b""))
    assert end == AnswerEnd(state=CommandState.SUCCEEDED, exit_code=0)


def test_content_that_ends_without_md5_is_not_a_success() -> None:
    """S1-8"""
    content, end = run(chunk(b"content"), chunk(b""))
    assert content == b"content"
    assert end is not None
    assert (end.state, end.reason) == (CommandState.FAILED, "md5_mismatch")


@pytest.mark.parametrize(
    "responses",
    [
        (chunk(b"12345", total_len=4),),
        (chunk(b"123", total_len=4), chunk(b"45", total_len=4)),
        (chunk(b"123", total_len=4), chunk(b"4", total_len=5)),
        (chunk(b"123", total_len=4, md5=md5(b"123")),),
        (chunk(b"1", total_len=0),),
    ],
    ids=["beyond", "beyond_later", "another_total", "short_of", "beyond_zero"],
)
def test_content_that_contradicts_total_len_fails_the_command(
    responses: tuple[df.RemoteExecResponse, ...],
) -> None:
    """S1-20"""
    _, end = run(*responses)
    assert end is not None
    assert (end.state, end.reason) == (CommandState.FAILED, "protocol")


def test_nothing_beyond_total_len_becomes_output() -> None:
    content, _ = run(chunk(b"123", total_len=4), chunk(b"45", total_len=4))
    assert content == b"123"


def test_texts_that_are_not_utf8_are_shown_as_far_as_possible() -> None:
    """proto2 does not insist on UTF-8 in strings."""
    raw = b"\x10\x02\x1a\x03a\xff\xfe"  # request_id 2, errmsg
    _, end = run(df.RemoteExecResponse.FromString(raw))
    assert end is not None
    assert end.error == "a\ufffd\ufffd"


def test_endless_error_texts_are_cut() -> None:
    """S1-16"""
    answer = RunAnswer()
    for _ in range(100):
        response = chunk(b"x")
        response.errmsg = "e" * 1000
        assert answer.take(response).end is None
    end = answer.take(chunk(b"")).end
    assert end is not None
    assert len(end.error) == 8 * 1024


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=20))
def test_any_cut_into_chunks_gives_the_same_output(pieces: list[bytes]) -> None:
    """S1-20"""
    whole = b"".join(pieces)
    responses = [chunk(piece, total_len=len(whole), pkt_count=len(pieces)) for piece in pieces]
    responses[-1].command_result.md5 = md5(whole)
    assert run(*responses) == (whole, AnswerEnd(state=CommandState.SUCCEEDED, exit_code=0))


def test_list_of_commands_is_json() -> None:
    """S1-9"""
    response = df.RemoteExecResponse(
        request_id=2,
        commands=[
            df.RemoteCommand(
                cmd="ps aux",
                ident="ps",
                output_format=df.TEXT,
                type_name="linux",
                params=[df.CommandParam(name="pid", regex="^[0-9]+$", required=True, description="whose")],
            )
        ],
    )
    end = CommandsAnswer().take(response).end
    assert end is not None
    assert end.state is CommandState.SUCCEEDED
    assert json.loads(end.result) == {
        "commands": [
            {
                "id": 0,
                "cmd": "ps aux",
                "param_names": [],
                "output_format": "TEXT",
                "cmd_type": "LINUX",
                "ident": "ps",
                "params": [
                    {
                        "name": "pid",
                        "regex": "^[0-9]+$",
                        "required": True,
                        "param_type": "PF_TEXT",
                        "description": "whose",
                    }
                ],
                "type_name": "linux",
            }
        ]
    }


def test_list_of_namespaces_is_json() -> None:
    """S1-10"""
    namespace = df.LinuxNamespace(id=4026531840, ns_type="net", user="root", pid=1, cmd="/sbin/init")
    end = NamespacesAnswer().take(df.RemoteExecResponse(request_id=2, linux_namespaces=[namespace])).end
    assert end is not None
    assert json.loads(end.result) == {
        "namespaces": [{"id": 4026531840, "ns_type": "net", "user": "root", "pid": 1, "cmd": "/sbin/init"}]
    }


@pytest.mark.parametrize("answer", [CommandsAnswer(), NamespacesAnswer()])
def test_a_list_that_failed_says_why(answer: CommandsAnswer | NamespacesAnswer) -> None:
    """S1-18"""
    end = answer.take(df.RemoteExecResponse(request_id=2, errmsg="lsns: not permitted")).end
    assert end == AnswerEnd(state=CommandState.FAILED, error="lsns: not permitted")


def test_each_list_waits_for_its_own_members() -> None:
    """The two may come under one number."""
    commands = df.RemoteExecResponse(request_id=2, commands=[df.RemoteCommand(ident="ps")])
    namespaces = df.RemoteExecResponse(request_id=2, linux_namespaces=[df.LinuxNamespace(id=1)])
    assert CommandsAnswer().take(namespaces).end is None
    assert NamespacesAnswer().take(commands).end is None
