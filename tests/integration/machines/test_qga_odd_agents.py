"""Agents that are old, slow or restrained: what can be done with them is done, and nothing they say is lost."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.machines.errors import ProtocolViolation, Refused, TimedOut
from quarterdeck.machines.qga import LiveExec, LiveExecSpec, QgaProtocolBuilder, Request, Scratch, live
from tests.integration.machines.agent_peer import AgentConnection, agent
from tests.integration.machines.live_runs import MARKER

PATIENT = QgaProtocolBuilder().with_timeout(60)
HASTY = QgaProtocolBuilder().with_timeout(0.5)


async def test_end_that_was_told_too_late_is_not_lost(socket_dir: Path) -> None:
    """S2-25F. The agent tells it once, and nobody waited any more."""
    gate = asyncio.Event()
    surroundings = base64.b64encode(b"made\n\nPATH=/bin\0").decode()

    async def script(connection: AgentConnection) -> None:
        for returned in (
            *({"pid": 1}, {"exited": True, "exitcode": 0, "out-data": surroundings}),
            *(7, 8),  # files
            {"pid": 2},
        ):
            connection.answer(await connection.request(), returned)
        late = await connection.request()
        await gate.wait()
        connection.answer(late, {"exited": True, "exitcode": 42})
        while True:
            request = await connection.request()
            if request["execute"] == "guest-exec-status":
                connection.refuse(request, "GenericError", "Invalid parameter 'pid'")
            else:
                connection.answer(request, {"count": 0, "eof": True})

    async with agent(socket_dir, script) as peer:
        protocol = HASTY.build()
        await protocol.connect(peer.guest)
        run = LiveExec(Scratch(protocol), LiveExecSpec(marker=MARKER, argv=("x",)))
        await run.start()
        await run.step()
        with pytest.raises(TimedOut):
            await run.step()

        gate.set()
        step = await run.step()

        assert step.end is not None
        assert step.end.exit_code == 42
        await protocol.disconnect()


async def test_end_that_was_told_before_the_agent_fell_silent_is_not_lost(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2-25F. The guest stood still in the middle of a burst: after the end, before the output."""
    monkeypatch.setattr(live, "_YOUNG_S", 0)
    gate = asyncio.Event()
    surroundings = base64.b64encode(b"made\n\nPATH=/bin\0").decode()

    async def script(connection: AgentConnection) -> None:
        for returned in (
            *({"pid": 1}, {"exited": True, "exitcode": 0, "out-data": surroundings}),
            *(7, 8),  # files
            *({"pid": 2}, {"exited": True, "exitcode": 42}),
        ):
            connection.answer(await connection.request(), returned)
        await gate.wait()
        while True:
            request = await connection.request()
            if request["execute"] == "guest-exec-status":
                connection.refuse(request, "GenericError", "Invalid parameter 'pid'")
            else:
                connection.answer(request, {"count": 0, "eof": True})

    async with agent(socket_dir, script) as peer:
        protocol = HASTY.build()
        await protocol.connect(peer.guest)
        run = LiveExec(Scratch(protocol), LiveExecSpec(marker=MARKER, argv=("x",)))
        await run.start()
        await run.step()
        with pytest.raises(TimedOut):
            await run.step()

        gate.set()
        step = await run.step()

        assert step.end is not None
        assert step.end.exit_code == 42
        await protocol.disconnect()


async def test_live_output_that_is_no_base64_is_a_violation(socket_dir: Path) -> None:
    """S2-25F. From an agent that opens no files, so that output comes with the end."""

    async def script(connection: AgentConnection) -> None:
        while True:
            request = await connection.request()
            match request["execute"]:
                case "guest-exec":
                    connection.answer(request, {"pid": 1})
                case "guest-exec-status":
                    connection.answer(request, {"exited": True, "exitcode": 0, "out-data": "not Base64"})
                case _:
                    connection.refuse(request, "CommandNotFound", "disabled")

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        run = LiveExec(Scratch(protocol), LiveExecSpec(marker=MARKER, argv=("x",)))

        with pytest.raises(ProtocolViolation):
            await run.start()

        await protocol.disconnect()


async def test_agent_whose_administrator_forbids_programs_says_so(socket_dir: Path) -> None:
    """S2-25F."""

    async def script(connection: AgentConnection) -> None:
        while True:
            request = await connection.request()
            connection.refuse(request, "CommandNotFound", "Command guest-exec has been disabled")

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)

        with pytest.raises(Refused, match="disabled"):
            await LiveExec(Scratch(protocol), LiveExecSpec(marker=MARKER, argv=("x",))).start()

        await protocol.disconnect()


def _refusing_ids(request: dict[str, Any]) -> dict[str, Any]:
    if "id" in request:
        return {"error": {"class": "GenericError", "desc": "QMP input object member 'id' is unexpected"}}
    return {"return": request["execute"]}


def _ignoring_ids(request: dict[str, Any]) -> dict[str, Any]:
    return {"return": request["execute"]}


@pytest.mark.parametrize("reply", [_refusing_ids, _ignoring_ids])
async def test_agent_of_before_there_were_ids_is_understood(
    socket_dir: Path, reply: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """S2-11, S2-25F. By order alone; what comes too late is dropped by the sync."""
    gate = asyncio.Event()

    async def script(connection: AgentConnection) -> None:
        while True:
            request = await connection.any_request()
            if request["execute"] == "guest-sync-delimited":
                connection.answer_sync(request)
                continue
            if request["execute"] == "guest-late":
                await gate.wait()
            connection.write(json.dumps(reply(request)).encode() + b"\n")

    async with agent(socket_dir, script) as peer:
        protocol = HASTY.build()
        await protocol.connect(peer.guest)
        answers = await protocol.burst([Request("guest-1"), Request("guest-2")])
        with pytest.raises(TimedOut):
            await protocol.execute("guest-late")
        gate.set()

        assert [answer.value(str) for answer in answers] == ["guest-1", "guest-2"]
        assert await protocol.execute("guest-3") == "guest-3"
        await protocol.disconnect()


async def test_script_that_could_not_be_written_does_not_run(socket_dir: Path) -> None:
    """S2-25F. Half of one may do what the whole would not."""
    surroundings = base64.b64encode(b"made\n\nPATH=/bin\0").decode()
    programs: list[str] = []

    async def script(connection: AgentConnection) -> None:
        while True:
            request = await connection.request()
            match request["execute"]:
                case "guest-exec":
                    programs.append(request["arguments"]["path"])
                    connection.answer(request, {"pid": 1})
                case "guest-exec-status":
                    connection.answer(request, {"exited": True, "exitcode": 0, "out-data": surroundings})
                case "guest-file-flush":
                    connection.refuse(
                        request, "GenericError", "failed to flush file: No space left on device"
                    )
                case "guest-file-open":
                    connection.answer(request, 1_000)
                case _:
                    connection.answer(request, {"count": 9, "eof": False})

    async with agent(socket_dir, script) as peer:
        protocol = PATIENT.build()
        await protocol.connect(peer.guest)
        scratch = Scratch(protocol)
        run = LiveExec(scratch, LiveExecSpec(marker=MARKER, script="rm -rf $HOME/tmp/old"))

        with pytest.raises(Refused, match="No space left"):
            await run.start()

        assert not run.may_have_started
        assert programs == ["/bin/sh"]  # which made the directory
        await protocol.disconnect()
