"""What an agent tells of itself: its commands, and the namespaces of its machine."""

from pathlib import Path

import msgspec
import pytest

from quarterdeck.agent.catalogue import Catalogue, NamedCommand
from quarterdeck.agent.handlers import FunctionHandler, Handlers
from quarterdeck.agent.inventory import register_inventory
from quarterdeck.agent.namespaces import linux_namespaces
from quarterdeck.contracts.agent_calls import CommandParam, LinuxNamespaces, RemoteCommands
from quarterdeck.contracts.limits import MAX_PAYLOAD_BYTES
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation

PS = NamedCommand(
    ident="ps",
    cmd="ps -p {pid}",
    type_name="process",
    params=(CommandParam(name="pid", regex="[0-9]+", required=True, description="of the process"),),
)


@pytest.fixture
def handlers() -> Handlers:
    handlers = Handlers()
    handlers.register_handler("restart", FunctionHandler(lambda: None))
    register_inventory(handlers, Catalogue((PS,)))
    return handlers


async def test_the_catalogue_and_the_handlers_are_listed(link: Conversation) -> None:
    """S1-9: as RemoteCommand[]."""
    result = await link.result(await link.order("list_commands", {}))
    assert result.end == pb.SUCCEEDED
    assert msgspec.json.decode(result.result) == {
        "commands": [
            {
                "id": 1,
                "cmd": "ps -p {pid}",
                "param_names": ["pid"],
                "output_format": "TEXT",
                "cmd_type": "LINUX",
                "ident": "ps",
                "params": [
                    {
                        "name": "pid",
                        "regex": "[0-9]+",
                        "required": True,
                        "param_type": "PF_TEXT",
                        "description": "of the process",
                    }
                ],
                "type_name": "process",
            },
            {
                "id": 2,
                "cmd": "restart",
                "param_names": [],
                "output_format": "TEXT",
                "cmd_type": "LINUX",
                "ident": "",
                "params": [],
                "type_name": "handler",
            },
        ]
    }
    assert msgspec.json.decode(result.result, type=RemoteCommands).commands[0].params == list(PS.params)
    assert {"list_commands", "list_namespaces"} <= set(link.hello.capabilities)


async def test_the_namespaces_of_this_machine_are_listed(link: Conversation) -> None:
    """S1-10: as LinuxNamespace[], each namespace once."""
    result = await link.result(await link.order("list_namespaces", {}))
    assert result.end == pb.SUCCEEDED
    told = msgspec.json.decode(result.result, type=LinuxNamespaces).namespaces
    ours = int(str(Path("/proc/self/ns/net").readlink()).removeprefix("net:[").removesuffix("]"))
    assert ("net", ours) in {(namespace.ns_type, namespace.id) for namespace in told}
    assert len({(namespace.ns_type, namespace.id) for namespace in told}) == len(told)
    assert all(namespace.pid > 0 for namespace in told)


def process(
    proc: Path, pid: int, cmdline: bytes = b"", comm: bytes = b"worker\n", /, **namespaces: int
) -> Path:
    directory = proc / str(pid)
    (directory / "ns").mkdir(parents=True)
    (directory / "cmdline").write_bytes(cmdline)
    (directory / "comm").write_bytes(comm)
    for name, inode in namespaces.items():
        (directory / "ns" / name).symlink_to(f"{name.removesuffix('_for_children')}:[{inode}]")
    return directory


def test_a_namespace_is_told_once_by_its_lowest_pid(tmp_path: Path) -> None:
    """S1-10"""
    process(tmp_path, 10, b"nginx\0-g\0daemon off;\0", net=2, mnt=5)
    process(tmp_path, 2, net=1, pid=3, pid_for_children=9)
    process(tmp_path, 100, b"late\0", net=2)
    (tmp_path / "self").symlink_to("100")
    found = linux_namespaces(tmp_path)
    assert [(found.ns_type, found.id, found.pid) for found in found] == [
        ("net", 1, 2),
        ("pid", 3, 2),
        ("mnt", 5, 10),
        ("net", 2, 10),
    ]
    assert [found.cmd for found in found] == [
        "[worker]",
        "[worker]",
        "nginx -g daemon off;",
        "nginx -g daemon off;",
    ]


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """S1-10, S4-31"""
    process(tmp_path, 1, b"init\0", net=1)
    (tmp_path / "2").mkdir()  # ended while we looked, or another user's
    strange = process(tmp_path, 3, net=3)
    (strange / "ns" / "mnt").symlink_to("elsewhere")
    (strange / "ns" / "plain").write_text("no link")
    assert [(found.ns_type, found.id) for found in linux_namespaces(tmp_path)] == [("net", 1), ("net", 3)]


def test_a_crowded_machine_and_hostile_names_fit_into_one_result(tmp_path: Path) -> None:
    """S4-35"""
    for pid in range(1, 302):
        process(tmp_path, pid, b'\xff"\\\n' * 200, net=pid, mnt=pid, pid=pid, uts=pid)
    found = linux_namespaces(tmp_path)
    assert len(found) == 1000
    assert len(msgspec.json.encode(LinuxNamespaces(namespaces=found))) < MAX_PAYLOAD_BYTES
    assert all(namespace.cmd.isprintable() and namespace.cmd.isascii() for namespace in found)


def test_handlers_of_the_agents_own_stay(handlers: Handlers) -> None:
    """S1-25"""
    register_inventory(handlers, Catalogue())
    assert handlers.command_types == ("list_commands", "list_namespaces", "restart")
