"""The committed code of the agent protocol is current, and keeps the protocol's identity."""

from pathlib import Path

import pytest

from quarterdeck.wire.agent_v1 import agent_pb2
from tools import protos


def test_committed_code_is_current() -> None:
    """Generated code is committed so that a user needs no compiler; nobody may forget to compile it."""
    assert protos.stale_files() == []


def test_changed_or_missing_code_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that finds nothing is no check."""
    proto = "quarterdeck/agent/v1/agent.proto"
    protos.compile_proto(proto, tmp_path)
    (tmp_path / "agent_pb2.py").write_text("# old\n", encoding="utf-8")
    (tmp_path / "agent_pb2.pyi").unlink()
    monkeypatch.setattr(protos, "GENERATED", {proto: tmp_path})

    assert protos.stale_files() == [tmp_path / "agent_pb2.py", tmp_path / "agent_pb2.pyi"]


def test_descriptor_keeps_the_file_name_of_the_protocol() -> None:
    """Other languages import the file by this name; the Python package is only where the code lives."""
    assert agent_pb2.DESCRIPTOR.name == "quarterdeck/agent/v1/agent.proto"
    assert agent_pb2.DESCRIPTOR.package == "quarterdeck.agent.v1"
