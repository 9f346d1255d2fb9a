"""`qd up`: the whole system on this machine, until Ctrl-C."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, Port, PositiveInt
from rich.text import Text

from quarterdeck.cli.errors import UsageError
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import table
from quarterdeck.embedded.layout import default_data_dir
from quarterdeck.embedded.ready_file import ReadySystem
from quarterdeck.embedded.settings import API_PORT, GRPC_PORT, QUIC_PORT, UpSettings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What to start, and where."""

    data_dir: Annotated[Path | None, Parameter(env_var="QD_DATA_DIR")] = None
    """Where everything is kept; a start on the same directory goes on where the last one stopped."""

    agents: NonNegativeInt = 0
    """Local agents to start as well, every other one over QUIC and over gRPC."""

    port: Port = API_PORT
    """Of the API and of event streams. Default 8080; 0: any free one."""

    grpc_port: Port = GRPC_PORT
    """Of the gRPC gateway. Default 20035; 0: any free one."""

    quic_port: Port = QUIC_PORT
    """Of the QUIC gateway, UDP. Default 8474; 0: any free one."""

    plain_grpc_port: Port | None = None
    """Of a second gRPC port, without TLS, for agents of other protocols. Default: there is none; 0: any free one."""

    admit_dialects: bool = False
    """For trials: enrol agents of other protocols at first contact, without anybody registering them."""

    gateways_per_kind: PositiveInt = 1
    """How many gateways of each carrier; all but the first listen on free ports."""

    ready_file: Path | None = None
    """Write addresses, tokens and process ids here as JSON when all is ready, and whenever they change."""

    nats_url: str | None = None
    """Use this NATS server (JetStream on) instead of starting one."""

    redis_url: str | None = None
    """Use this Redis server instead of starting one."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the log files in the data directory."""


_NOTHING: Final = Options()


def up(*, options: Options = _NOTHING) -> int:
    """Start the whole system on this machine: NATS, Redis, the six services, and agents if asked for."""
    from quarterdeck.embedded import main

    if options.ready_file is not None and not os.access(
        options.ready_file.absolute().parent, os.W_OK | os.X_OK
    ):
        raise UsageError(f"--ready-file {options.ready_file}: nothing can be written there")
    settings = UpSettings(
        data_dir=options.data_dir or default_data_dir(),
        environ=main.environment(),
        agents=options.agents,
        port=options.port,
        grpc_port=options.grpc_port,
        quic_port=options.quic_port,
        plain_grpc_port=options.plain_grpc_port,
        admit_dialects=options.admit_dialects,
        gateways_per_kind=options.gateways_per_kind,
        ready_file=options.ready_file,
        nats_url=options.nats_url,
        redis_url=options.redis_url,
        log_level=options.log_level,
    )
    return main.run(settings, _announce)


def _announce(system: ReadySystem) -> None:
    screen = Screen.of_process()
    screen.show(Text("Quarterdeck is up.", style="bold green"))
    facts = table("", "")
    facts.show_header = False
    for name, value in (
        ("API", system.api),
        ("console", f"{system.api}/console"),
        ("token", system.token),
        ("gateways", f"quic://{system.quic}  grpc://{system.grpc}"),
        *([("no TLS", f"grpc://{system.plain_grpc}")] if system.plain_grpc else []),
        ("events", f"{system.nats}  qd.event.>"),
        ("data", system.data_dir),
        ("agents", ", ".join(f"{name} ({agent.carrier})" for name, agent in system.agents.items()) or "none"),
    ):
        facts.add_row(Text(name, style="dim"), Text(value))
    screen.show(facts)
    screen.show(Text("\nTry it:", style="bold"))
    if system.agents:
        screen.show(Text("  qd run --all 'echo hello from $(hostname)'"))
    else:
        screen.show(
            Text(f"  qd agent --server grpc://{system.grpc} --join-token @{system.data_dir}/pki/join-token")
        )
    screen.show(Text(f'  curl -H "Authorization: Bearer {system.token}" {system.api}/api/agents'))
    screen.show(
        Text(
            "\nAnybody who has the token may run anything on these machines. Ctrl-C stops everything.", "dim"
        )
    )
