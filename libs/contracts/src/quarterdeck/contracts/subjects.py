"""Every NATS subject, built and parsed here and nowhere else (a linter says so).

`_` stands for an absent batch or command, so that every subject of a kind has the same number of tokens and a filter
can name any of them.
"""

from typing import Final, NamedTuple

from quarterdeck.contracts.commands import Lane
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.ids import check_id

NONE: Final = "_"

ALL_COMMANDS: Final = "qd.command.>"
ALL_REPORTS: Final = "qd.report.>"
ALL_EVENTS: Final = "qd.event.>"
ALL_OUTPUT: Final = "qd.output.>"
ALL_CLAIMS: Final = "qd.claim.>"
ALL_AUDIT: Final = "qd.audit.>"
ALL_DEAD: Final = "qd.dead.>"


def command(tenant: str, lane: Lane) -> str:
    return f"qd.command.{check_id(tenant, 'tenant')}.{lane}"


def lane_filter(lane: Lane) -> str:
    return f"qd.command.*.{lane}"


def report(tenant: str, gateway_id: str) -> str:
    return f"qd.report.{check_id(tenant, 'tenant')}.{check_id(gateway_id, 'gateway_id')}"


def event(tenant: str, batch_id: str | None, command_id: str | None, entity: str, verb: str) -> str:
    return f"qd.event.{tenant}.{batch_id or NONE}.{command_id or NONE}.{entity}.{verb}"


def output(tenant: str, batch_id: str | None, command_id: str, attempt: int, stream: str) -> str:
    return f"qd.output.{tenant}.{batch_id or NONE}.{command_id}.{attempt}.{stream}"


def claim(tenant: str, command_id: str, attempt: int) -> str:
    """Where the one gateway that writes this attempt to a foreign agent says so."""
    return f"qd.claim.{check_id(tenant, 'tenant')}.{check_id(command_id, 'command_id')}.{attempt}"


def dead(stream: str) -> str:
    """Where a consumer of `stream` puts what it cannot decode."""
    return f"qd.dead.{stream}"


def order(gateway_id: str) -> str:
    return f"qd.gateway.{check_id(gateway_id, 'gateway_id')}.order"


def control(gateway_id: str) -> str:
    return f"qd.gateway.{check_id(gateway_id, 'gateway_id')}.control"


def watch_tenant(tenant: str) -> tuple[str, ...]:
    """Filters over QD_FEED for all that happens in a tenant, output left out."""
    return (f"qd.event.{check_id(tenant, 'tenant')}.>",)


def watch_batch(tenant: str, batch_id: str) -> tuple[str, ...]:
    check_id(tenant, "tenant"), check_id(batch_id, "batch_id")
    return (f"qd.event.{tenant}.{batch_id}.>", f"qd.output.{tenant}.{batch_id}.>")


def watch_command(tenant: str, batch_id: str | None, command_id: str) -> tuple[str, ...]:
    check_id(tenant, "tenant"), check_id(command_id, "command_id")
    batch = NONE if batch_id is None else check_id(batch_id, "batch_id")
    return (f"qd.event.{tenant}.{batch}.{command_id}.>", f"qd.output.{tenant}.{batch}.{command_id}.>")


def life_of_state() -> tuple[str, ...]:
    """Filters over QD_FEED and QD_STATE: every event of commands, batches and sessions, all tenants."""
    return ("qd.event.*.*.*.command.*", "qd.event.*.*.*.batch.*", "qd.event.*.*.*.session.*")


def ends_of_single_commands() -> str:
    """Filter over QD_FEED: `command.completed` of commands without a batch, all tenants."""
    return f"qd.event.*.{NONE}.*.command.completed"


def ends_of_children(tenant: str, batch_id: str) -> str:
    """Filter over QD_FEED: `command.completed` of one batch's children."""
    return f"qd.event.{check_id(tenant, 'tenant')}.{check_id(batch_id, 'batch_id')}.*.command.completed"


def ends_of_batches() -> str:
    """Filter over QD_FEED: `batch.completed`, all tenants."""
    return f"qd.event.*.*.{NONE}.batch.completed"


class OutputSubject(NamedTuple):
    tenant: str
    batch_id: str | None
    command_id: str
    attempt: int
    stream: str


class EventSubject(NamedTuple):
    tenant: str
    batch_id: str | None
    command_id: str | None
    entity: str
    verb: str


def parse_output(subject: str) -> OutputSubject:
    """Raises DecodeError when `subject` was not built by `output`."""
    tokens = subject.split(".")
    if len(tokens) != 7 or tokens[:2] != ["qd", "output"] or not tokens[5].isdigit():
        raise DecodeError(f"no output subject: {subject!r}")
    return OutputSubject(tokens[2], _present(tokens[3]), tokens[4], int(tokens[5]), tokens[6])


def parse_event(subject: str) -> EventSubject:
    """Raises DecodeError when `subject` was not built by `event`."""
    tokens = subject.split(".")
    if len(tokens) != 7 or tokens[:2] != ["qd", "event"]:
        raise DecodeError(f"no event subject: {subject!r}")
    return EventSubject(tokens[2], _present(tokens[3]), _present(tokens[4]), tokens[5], tokens[6])


def is_output(subject: str) -> bool:
    return subject.startswith("qd.output.")


def _present(token: str) -> str | None:
    return None if token == NONE else token
