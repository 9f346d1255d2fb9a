"""Golden frames of deepflow: bytes packed by hand from the field numbers, against the code made from our proto."""

import pytest

from quarterdeck.gateway.foreign import deepflow_request
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from quarterdeck.wire.deepflow import agent_pb2 as df
from tests.conformance.handpacked import integer, nested, octets, pack, text

RESPONSES: list[tuple[bytes, df.RemoteExecResponse]] = [
    (b"", df.RemoteExecResponse()),
    (
        nested(1, text(1, "10.0.0.7"), text(2, "aa:bb:cc:dd:ee:07"), text(3, "team"), text(4, "group")),
        df.RemoteExecResponse(
            agent_id=df.AgentId(ip="10.0.0.7", mac="aa:bb:cc:dd:ee:07", team_id="team", group_id="group")
        ),
    ),
    (
        pack(integer(2, 2**64 - 1), text(3, "kubectl: not found")),
        df.RemoteExecResponse(request_id=2**64 - 1, errmsg="kubectl: not found"),
    ),
    (
        pack(
            integer(2, 2),
            nested(
                4,
                integer(1, 7),
                text(2, "ps aux"),
                text(3, "pid"),
                integer(4, 1),
                integer(5, 1),
                text(6, "ps"),
                nested(
                    7, text(1, "pid"), text(2, "^[0-9]+$"), integer(3, 1), integer(4, 1), text(5, "whose")
                ),
                text(8, "kubernetes"),
            ),
        ),
        df.RemoteExecResponse(
            request_id=2,
            commands=[
                df.RemoteCommand(
                    id=7,
                    cmd="ps aux",
                    param_names=["pid"],
                    output_format=df.BINARY,
                    cmd_type=df.KUBERNETES,
                    ident="ps",
                    params=[
                        df.CommandParam(
                            name="pid",
                            regex="^[0-9]+$",
                            required=True,
                            param_type=df.PF_BOOLEAN,
                            description="whose",
                        )
                    ],
                    type_name="kubernetes",
                )
            ],
        ),
    ),
    (
        pack(
            integer(2, 3),
            nested(
                5, integer(1, 4026531840), text(2, "net"), text(3, "root"), integer(4, 1), text(5, "init")
            ),
        ),
        df.RemoteExecResponse(
            request_id=3,
            linux_namespaces=[
                df.LinuxNamespace(id=4026531840, ns_type="net", user="root", pid=1, cmd="init")
            ],
        ),
    ),
    (
        pack(
            integer(2, 4),
            nested(
                6,
                integer(1, -1),
                octets(2, b"\xff\x00\n"),
                text(3, "d41d8cd98f00b204e9800998ecf8427e"),
                integer(4, 3),
                integer(5, 1),
            ),
        ),
        df.RemoteExecResponse(
            request_id=4,
            command_result=df.DataChunk(
                errno=-1,
                content=b"\xff\x00\n",
                md5="d41d8cd98f00b204e9800998ecf8427e",
                total_len=3,
                pkt_count=1,
            ),
        ),
    ),
    (
        pack(integer(2, 5), nested(6)),
        df.RemoteExecResponse(request_id=5, command_result=df.DataChunk()),
    ),
]

REQUESTS: list[tuple[bytes, df.RemoteExecRequest]] = [
    (
        pack(integer(1, 2), integer(2, 0)),
        df.RemoteExecRequest(request_id=2, exec_type=df.LIST_COMMAND),
    ),
    (
        pack(integer(1, 3), integer(2, 1)),
        df.RemoteExecRequest(request_id=3, exec_type=df.LIST_NAMESPACE),
    ),
    (
        pack(
            integer(1, 4),
            integer(2, 2),
            nested(4, text(1, "pid"), text(2, "17")),
            integer(5, 4711),
            integer(6, 262144),
            text(7, "ps"),
        ),
        df.RemoteExecRequest(
            request_id=4,
            exec_type=df.RUN_COMMAND,
            params=[df.Parameter(key="pid", value="17")],
            linux_ns_pid=4711,
            batch_len=262144,
            command_ident="ps",
        ),
    ),
    (
        pack(integer(1, 5), integer(2, 3), integer(3, 9), nested(10, octets(2, b"pcap"))),
        df.RemoteExecRequest(
            request_id=5,
            exec_type=df.DRY_REPLAY_PCAP,
            command_id=9,
            command_data=df.DataChunk(content=b"pcap"),
        ),
    ),
]


@pytest.mark.parametrize(("raw", "message"), RESPONSES)
def test_responses_are_the_bytes_that_agents_send(raw: bytes, message: df.RemoteExecResponse) -> None:
    """S1-8, S1-9, S1-10"""
    assert df.RemoteExecResponse.FromString(raw) == message
    assert message.SerializeToString(deterministic=True) == raw


@pytest.mark.parametrize(("raw", "message"), REQUESTS)
def test_requests_are_the_bytes_that_agents_read(raw: bytes, message: df.RemoteExecRequest) -> None:
    """S1-8, S1-9, S1-10: exec_type 0 is written out, for an agent ignores what has none."""
    assert df.RemoteExecRequest.FromString(raw) == message
    assert message.SerializeToString(deterministic=True) == raw


def test_heartbeat_answer_has_a_request_id_of_zero_and_no_exec_type() -> None:
    """S1-12"""
    assert deepflow_request.HEARTBEAT_ANSWER == b"\x08\x00"


def test_run_request_of_a_catalogue_command() -> None:
    """S1-8"""
    payload = b'{"ident": "ps", "params": {"pid": "17"}, "linux_ns_pid": 4711}'
    spec = native.CommandSpec(command_type="catalogue", payload=payload)
    assert deepflow_request.request_of(spec, 4).SerializeToString(deterministic=True) == REQUESTS[2][0]


def test_absent_batch_len_means_one_mebibyte() -> None:
    assert df.RemoteExecRequest().batch_len == 1048576


def test_execution_type_of_a_later_version_is_read_as_absent() -> None:
    """S1-25"""
    request = df.RemoteExecRequest.FromString(pack(integer(1, 2), integer(2, 99)))
    assert not request.HasField("exec_type")


def test_members_of_a_later_version_are_ignored() -> None:
    """S1-25"""
    response = df.RemoteExecResponse.FromString(pack(integer(2, 2), nested(99, text(1, "new")), text(3, "e")))
    assert (response.request_id, response.errmsg) == (2, "e")
