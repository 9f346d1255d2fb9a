"""`qd vm`: virtual machines behind an agent: which there are, commands in them, keys, words with their QEMU."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from cyclopts import App, Parameter
from rich.text import Text

from quarterdeck.cli.board import Board
from quarterdeck.cli.client.api import Api, Order
from quarterdeck.cli.client.models import Agent
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.durations import Duration
from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.follow import Subject, follow
from quarterdeck.cli.interrupts import Interrupts
from quarterdeck.cli.presentation import Style
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of
from quarterdeck.cli.verbs.run import How, Shown, Where, run
from quarterdeck.contracts.guests import QMP_EXECUTE, QMP_SEND_KEYS, SPICE_SEND_KEYS
from quarterdeck.contracts.ids import child_id, parse_target

app = App(name="vm", help="List virtual machines; run commands in them, press keys, talk to their QEMU.")

_AS_USUAL: Final = How()
_LIVE: Final = Shown()
_CALL_TIMEOUT_S: Final = 60.0
"""For keys and QMP. The agent's own limit of one request is shorter."""


@app.command
def ls(*, format: Literal["table", "json"] = "table", server: Server = ANY_SERVER) -> int:
    """List the virtual machines that agents tell of."""
    return asyncio.run(_ls(format, server))


async def _ls(format_: str, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        known = await api.enrolled_agents()
    agents = sorted(known, key=lambda agent: agent.agent_id)
    if format_ == "json":
        targets = [f"{agent.agent_id}/{guest}" for agent in agents for guest in agent.guests]
        print(msgspec.json.format(msgspec.json.encode(targets)).decode())
    else:
        rows = [row for agent in agents for row in _rows(agent)]
        Screen.of_process().show(rows_of(("TARGET", "HYPERVISOR", "LAST SEEN"), rows))
    return ExitCode.OK


@app.command(name="exec")
def exec_(
    target: str,
    /,
    *command: Annotated[str, Parameter(show=False)],
    how: How = _AS_USUAL,
    shown: Shown = _LIVE,
    server: Server = ANY_SERVER,
) -> int:
    """Run a command in a virtual machine, through its guest agent, and watch it. As `qd run` on one machine.

        qd vm exec hv1/vm1 'df -h | tail -3'
        qd vm exec hv1/vm1 -- systemctl restart nginx

    Parameters
    ----------
    target
        `agent/guest`.
    """
    return run(*command, where=Where(target=(_checked(target),)), how=how, shown=shown, server=server)


@app.command
def keys(
    target: str,
    /,
    *names: Annotated[str, Parameter(show=False)],
    hold: Duration | None = None,
    spice: bool = False,
    server: Server = ANY_SERVER,
) -> int:
    """Press keys of a virtual machine, all of them at once: `qd vm keys hv1/vm1 ctrl alt del`.

    Parameters
    ----------
    target
        `agent/guest`.
    hold
        How long before they are released.
    spice
        Through its SPICE server, not through QMP.
    """
    if not names:
        raise UsageError("which keys? Such as: ctrl alt del")
    payload: dict[str, Any] = {"keys": list(names)}
    if hold is not None:
        payload["hold_ms"] = hold
    return asyncio.run(_call(target, SPICE_SEND_KEYS if spice else QMP_SEND_KEYS, payload, server))


@app.command
def qmp(target: str, command: str, arguments: str = "{}", /, *, server: Server = ANY_SERVER) -> int:
    """Say one thing to a virtual machine's QEMU, and print what it answers: `qd vm qmp hv1/vm1 query-status`.

    Parameters
    ----------
    target
        `agent/guest`.
    command
        Of QMP.
    arguments
        One JSON object.
    """
    payload = {"command": command, "arguments": _object(arguments)}
    return asyncio.run(_call(target, QMP_EXECUTE, payload, server))


async def _call(target: str, command_type: str, payload: Mapping[str, Any], server: Server) -> int:
    """One command without output; what it answers is printed as JSON."""
    order = Order(
        target_vps_ids=[_checked(target)],
        command_type=command_type,
        payload=payload,
        timeout=_CALL_TIMEOUT_S,
    )
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api, Interrupts() as interrupts:
        batch_id = (await api.submit(order)).batch_command_id
        command_id = child_id(batch_id, 0)
        subject = Subject(
            run_id=batch_id,
            board=Board([(command_id, target)]),
            feed=lambda output: api.watch_batch(batch_id, output=output),
            terminate=lambda: api.terminate_batch(batch_id),
        )
        code = await follow(api, subject, Style(progress=False), interrupts, wait_s=None)
        if code == ExitCode.OK and (result := (await api.command(command_id)).result) is not None:
            print(msgspec.json.format(msgspec.json.encode(result)).decode())
        return code


def _checked(target: str) -> str:
    """Raises InvalidTarget, UsageError."""
    if parse_target(target, "target").guest is None:
        raise UsageError(f"{target!r} is no virtual machine; write agent/guest")
    return target


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise UsageError(f'{text!r} is no JSON object, such as \'{{"path": "/machine"}}\'') from None


def _rows(agent: Agent) -> list[tuple[object, ...]]:
    link = Text("connected", style="green") if agent.connected else Text("offline", style="yellow")
    return [(f"{agent.agent_id}/{guest}", link, agent.last_seen) for guest in agent.guests]
