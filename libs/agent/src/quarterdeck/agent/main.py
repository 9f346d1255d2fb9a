"""The agent's command line: `python -m quarterdeck.agent`, and `quarterdeck agent` by way of `run`.

The only module of the agent that reads the environment.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import platformdirs
import structlog

from quarterdeck.agent.catalogue import STANDARD, load_catalogue
from quarterdeck.agent.errors import AgentRefused, BadAgentSettings
from quarterdeck.agent.front_launch import EXIT_REFUSED, EXIT_USAGE
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.runner import run_agent
from quarterdeck.agent.samples import SampleCommands
from quarterdeck.agent.settings import (
    AgentSettings,
    Role,
    ServerAddress,
    check_agent_id,
    child_environment,
    default_agent_id,
    parse_labels,
)
from quarterdeck.core import failpoints, telemetry
from quarterdeck.core.collector import calm_collector
from quarterdeck.core.logging import configure
from quarterdeck.wire.join_token import InvalidJoinToken

log = structlog.get_logger()

_SETTLED_S: Final = 3.0
"""After this an agent that found its gateway has loaded all it needs."""


def run(settings: AgentSettings, *, samples: bool = False) -> int:
    """Run an agent until SIGTERM or SIGINT. Returns the exit code. Logging is the caller's to set up."""
    handlers = Handlers()
    if samples:
        SampleCommands().register(handlers)
    try:
        _check_place(settings.data_dir)
        asyncio.run(_live(settings, handlers))
    except AgentRefused as refused:
        log.error("agent.refused", agent_id=settings.agent_id, reason=refused.reason, cause=refused.message)
        return EXIT_REFUSED
    except (BadAgentSettings, InvalidJoinToken) as error:
        log.error("agent.settings_refused", code=error.code, cause=error.message)
        return EXIT_USAGE
    return 0


def _check_place(data_dir: Path) -> None:
    """Whoever first writes there makes the directory, with a mode of its own. Raises BadAgentSettings."""
    there = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    if not there.is_dir():
        raise BadAgentSettings(f"data directory {data_dir}: {there} is not a directory", field="data_dir")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadAgentSettings(f"data directory {data_dir}: {there} cannot be written", field="data_dir")


async def _live(settings: AgentSettings, handlers: Handlers) -> None:
    # Not at once: some of what an executor needs comes with the first link.
    asyncio.get_running_loop().call_later(_SETTLED_S, calm_collector)
    await run_agent(settings, handlers)


def read_token(text: str | None) -> str | None:
    """The join token itself, or what is in the file that `@path` names. Raises BadAgentSettings."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except OSError as error:
        raise BadAgentSettings(f"join token file: {error}", field="join_token") from error


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    configure(
        options.log_format,
        options.log_level,
        service="agent",
        service_id=options.agent_id,
        process="front" if options.role == Role.FRONT else "executor",
    )
    try:
        settings = AgentSettings(
            servers=tuple(ServerAddress.parse(server) for server in options.server),
            data_dir=options.data_dir,
            agent_id=check_agent_id(options.agent_id),
            name=options.name,
            labels=parse_labels(options.label),
            join_token=read_token(options.join_token),
            ca_path=options.ca,
            environment=child_environment(dict(os.environ)),
            working_directory=options.working_directory,
            max_parallel=options.max_parallel,
            catalogue=STANDARD if options.catalogue is None else load_catalogue(options.catalogue),
            guests=GuestSettings(
                sockets=tuple(options.guest_sockets),
                libvirt_uri=options.libvirt,
                spice_password_files=options.spice_password_files,
            ),
            role=Role.SINGLE if options.single else Role(options.role),
            run_dir=options.run_dir,
            front_user=options.front_user,
            front_log_format=options.log_format,
            front_log_level=options.log_level,
            failpoints=os.environ.get("QD_FAILPOINTS", ""),
            failpoints_dir=_path(os.environ.get("QD_FAILPOINTS_DIR")),
        )
    except BadAgentSettings as error:
        sys.stderr.write(f"quarterdeck agent: {error.message}\n")
        return EXIT_USAGE
    failpoints.arm(settings.failpoints, settings.failpoints_dir)
    telemetry.export_to(options.otlp_endpoint, service="agent", service_id=options.agent_id)
    try:
        return run(settings, samples=options.samples)
    finally:
        telemetry.stop_recording()


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _parser() -> argparse.ArgumentParser:
    environ = os.environ
    parser = argparse.ArgumentParser(
        prog="quarterdeck-agent", description="Executes commands of a Quarterdeck gateway."
    )
    parser.add_argument(
        "--server", action="append", required=True, help="quic://host:port or grpc://host:port; repeatable"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(platformdirs.user_data_dir("quarterdeck")) / "agent",
        help="key, enrolment, scratch",
    )
    parser.add_argument("--agent-id", default=environ.get("QD_AGENT_ID") or default_agent_id())
    parser.add_argument("--name", default="", help="for people")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    parser.add_argument(
        "--join-token",
        default=environ.get("QD_AGENT_JOIN_TOKEN"),
        help="needed once; @file reads it from a file",
    )
    parser.add_argument("--ca", type=Path, help="CA certificate (PEM); the join token carries one, too")
    parser.add_argument("--working-directory", default="/", help="where commands start that name none")
    parser.add_argument("--max-parallel", type=int, default=64)
    parser.add_argument(
        "--catalogue",
        type=Path,
        help="TOML file of the commands that it runs by name; a few looks without one",
    )
    parser.add_argument(
        "--guest-sockets",
        action="append",
        default=[],
        metavar="PROTOCOL=PATH",
        help="sockets of virtual machines, such as qmp=/run/vms/{guest}/qmp.sock (or qga, spice); repeatable",
    )
    parser.add_argument("--libvirt", metavar="URI", help="virtual machines of this libvirt daemon, too")
    parser.add_argument(
        "--spice-password-files",
        metavar="PATH",
        help="where their SPICE passwords are: /etc/vms/{guest}.spice",
    )
    parser.add_argument(
        "--role",
        choices=(Role.AGENT, Role.EXECUTOR, Role.FRONT),
        default=Role.AGENT,
        help="agent: both; executor, front: one of the two, as units of their own",
    )
    parser.add_argument("--single", action="store_true", help="both in one process, for development")
    parser.add_argument(
        "--run-dir", type=Path, help="where executor and front meet; run in the data directory"
    )
    parser.add_argument("--front-user", metavar="NAME", help="as root: who the front runs as")
    parser.add_argument(
        "--samples", action="store_true", help="register the sample commands restart and update_config"
    )
    parser.add_argument(
        "--otlp-endpoint",
        default=environ.get("QD_OTLP_ENDPOINT"),
        help="collector for traces (OTLP http/protobuf)",
    )
    parser.add_argument("--log-format", choices=("console", "json"), default="console")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser
