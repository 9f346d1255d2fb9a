"""What a command can come to, on real machines, over both carriers."""

import json
from pathlib import Path

import pytest

from tests.e2e.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_batch_succeeds_on_every_agent_of_both_carriers(system: System) -> None:
    """S4-1, S4-2, S4-3, S4-13, S4-14, S4-18, S4-20, S4-21: one POST, four machines, one summary."""
    batch = await system.ran("echo hello from $(uname -s)", system.agents, execution_alias="greet")

    assert (batch["overall_status"], batch["execution_alias"]) == ("COMPLETED_SUCCESSFULLY", "greet")
    assert {task["status"] for task in batch["tasks"]} == {"SUCCESS"}
    assert [task["exit_code"] for task in batch["tasks"]] == [0] * 4
    assert all(task["output_stream_summary"] == ["hello from Linux"] for task in batch["tasks"])
    carriers = {facts["carrier"] for facts in system.ready["agents"].values()}
    assert carriers == {"quic", "grpc"}


async def test_failure_keeps_its_exit_code_and_stderr(system: System) -> None:
    """S4-18, S4-30, S0-20: the batch says that something failed, the task says what."""
    batch = await system.ran("echo out; echo err >&2; exit 7", system.agents[:2])

    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    for task in batch["tasks"]:
        assert (task["status"], task["exit_code"]) == ("FAILURE", 7)
        assert await system.output(task["child_command_id"]) == b"out\n"
        assert await system.output(task["child_command_id"], "stderr") == b"err\n"


async def test_partial_failure_is_completed_with_errors(system: System, tmp_path: Path) -> None:
    """S4-21: only one of them can make the directory."""
    batch = await system.ran(f"mkdir {tmp_path}/once", system.agents)

    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert sorted(task["status"] for task in batch["tasks"]) == ["FAILURE"] * 3 + ["SUCCESS"]


async def test_a_script_keeps_its_shebang_working_directory_and_environment(system: System) -> None:
    """S4-31: default or given directory and environment; the script's own interpreter."""
    script = "#!/usr/bin/env python3\nimport os, sys\nprint(os.getcwd(), os.environ['COLOUR'], sys.version_info[0])\n"
    for agent in (system.agent_on("quic"), system.agent_on("grpc")):
        command_id = await system.command(
            agent, "shell", {"script": script}, working_directory="/tmp", env={"COLOUR": "blue"}
        )

        command = await system.ended(command_id)

        assert command["status"] == "completed", command
        assert await system.output(command_id) == b"/tmp blue 3\n"


async def test_argv_reaches_the_program_as_it_is(system: System) -> None:
    """S0-28: nothing is pasted into a shell."""
    hostile = "$(touch /tmp/owned); `id` && echo \"'"
    command_id = await system.command(system.agents[0], "exec", {"argv": ["printf", "%s", hostile]})

    await system.ended(command_id)

    assert await system.output(command_id) == hostile.encode()


async def test_a_program_that_cannot_be_started_is_a_failure_with_text(system: System) -> None:
    """S4-30"""
    command_id = await system.command(system.agents[0], "exec", {"argv": ["/no/such/program"]})

    command = await system.ended(command_id)

    assert command["status"] == "failed"
    assert "/no/such/program" in command["error"]


async def test_timeout_kills_and_says_so(system: System) -> None:
    """S0-19, S4-29: seed 0's words in seed 0's view; FAILURE with text in seed 4's."""
    command_id = await system.command(
        system.agents[0], "shell", {"command": "echo before; sleep 60"}, timeout=1
    )
    command = await system.ended(command_id)
    batch = await system.ran("sleep 60", system.agents[:2], timeout=1)

    assert (command["status"], command["error"]) == ("timeout", "promise timeout")
    assert await system.output(command_id) == b"before\n"
    assert batch["overall_status"] == "COMPLETED_WITH_ERRORS"
    assert all(task["status"] == "FAILURE" and task["error_message"] for task in batch["tasks"])


async def test_silence_longer_than_allowed_is_a_timeout(system: System) -> None:
    """S4-34"""
    command_id = await system.command(
        system.agents[1], "shell", {"command": "echo start; sleep 60"}, no_output_timeout=1
    )

    command = await system.ended(command_id)

    assert command["status"] == "timeout"
    assert await system.output(command_id) == b"start\n"


async def test_an_unknown_command_type_fails_in_the_source_system_s_words(system: System) -> None:
    """S0-12"""
    command_id = await system.command(system.agents[0], "no_such_type", {})

    command = await system.ended(command_id)

    assert (command["status"], command["error"]) == ("failed", "unknown command: no_such_type")


async def test_seed_0_members_are_exactly_there(system: System) -> None:
    """S0-2, S0-4, S0-5, S0-6: timeout in nanoseconds, RFC 3339 with Z, empty members omitted."""
    payload = {"command": "echo hi"}
    command_id = await system.command(system.agents[0], "shell", payload, timeout=30)

    command = await system.ended(command_id)

    assert command["timeout"] == 30_000_000_000
    assert (command["client_id"], command["command_type"]) == (system.agents[0], "shell")
    assert json.dumps(command["payload"]) == json.dumps(payload)
    assert all(command[name].endswith("Z") for name in ("created_at", "sent_at", "completed_at"))
    assert "error" not in command


async def test_commands_are_listed_by_client_and_status(system: System) -> None:
    """S0-3, S0-8"""
    agent = system.agent_on("grpc")
    command_id = await system.command(agent, "shell", {"command": "false"})
    await system.ended(command_id)

    listed = await system.get("/api/commands", client_id=agent, status="failed")

    assert listed["success"] is True
    assert command_id in {command["command_id"] for command in listed["commands"]}
    assert listed["total"] >= 1
    assert {command["status"] for command in listed["commands"]} == {"failed"}


async def test_client_ids_make_a_batch(system: System) -> None:
    """S0-41F"""
    body = {"client_ids": system.agents, "command_type": "shell", "payload": {"command": "echo many"}}
    answer = await system.post("/api/command/batch", body)

    batch = await system.finished(answer["batch_command_id"])

    assert batch["overall_status"] == "COMPLETED_SUCCESSFULLY"
    assert len(batch["tasks"]) == 4
