"""What needs a process of its own: output that arrives while it runs, Ctrl-C, and a server that is not there."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from quarterdeck.testing.deck import Deck, environment

pytestmark = pytest.mark.xdist_group("embedded")


async def test_json_lines_arrive_while_the_run_runs(deck: Deck) -> None:
    """Output is live: the first line is here before the command has ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck.cli", "run", "-t", "agent-2", "--format", "jsonl"),
        "echo first; sleep 600",
        env=environment(QD_DATA_DIR=str(deck.data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    kinds = []
    async for line in process.stdout:
        event = json.loads(line)
        kinds.append(event["type"])
        if event["type"] == "output":
            assert event["text"] == "first\n"
            break

    run_id = (await deck.qd("ls", "-n", "1", "--format", "json")).stdout
    await deck.qd("cancel", json.loads(run_id)[0]["batch_command_id"])
    rest = await process.stdout.read()
    assert await process.wait() == 2
    assert json.loads(rest.splitlines()[-1])["counts"] == {"terminated": 1}


@pytest.mark.parametrize("times", [1, 2])
async def test_first_interrupt_detaches_and_the_second_cancels(deck: Deck, times: int) -> None:
    """The first prints the id and the exact cancel command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck.cli", "run", "-t", "agent-1,agent-2"),
        "echo started; sleep 600",
        env=environment(QD_DATA_DIR=str(deck.data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readline()

    process.send_signal(signal.SIGINT)
    said = b""
    while b"Ctrl-C again" not in said:
        said += await process.stderr.readline()
    if times == 2:
        process.send_signal(signal.SIGINT)

    assert await process.wait() == 130
    run_id = said.decode().split("qd cancel ")[1].split()[0]
    state = json.loads((await deck.qd("get", run_id, "--format", "json")).stdout)["overall_status"]
    assert state == ("IN_PROGRESS" if times == 1 else "TERMINATED")
    await deck.qd("cancel", run_id)


async def test_doctor_says_what_helps() -> None:
    """A server that is not there is the first thing that people meet."""
    nowhere = Deck(Path("/nonexistent/quarterdeck"))

    done = await nowhere.qd("doctor", "--url", "http://127.0.0.1:9", "--token", "x", expect=1)

    assert "qd up" in done.stdout.decode()
