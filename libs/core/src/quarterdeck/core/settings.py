"""Settings: frozen structs filled from `QD_…` environment variables, once, in each service's main.py.

Owns the naming rule and the settings that all services share. Reads no environment by itself: the mapping comes in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from quarterdeck.contracts.errors import QuarterdeckError

T = TypeVar("T", bound=msgspec.Struct)

_PREFIX = "QD_"


class SettingsError(QuarterdeckError):
    """`field`: the name of the environment variable."""

    code = "bad_setting"

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}", field=variable)
        self.variable = variable


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service needs. Variables: `QD_NATS_URL`, `QD_LOG_LEVEL` and so on."""

    nats_url: str = "nats://127.0.0.1:4222"
    """One or several, separated by commas."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    command_history_s: int = 30 * 60
    """How long a single command is kept after its end. The same for all services. Source: S0-17."""
    batch_history_s: int = 7 * 24 * 3600
    """The same of a batch and its children."""
    service_id: str = ""
    """Names this replica in logs, traces and NATS; made up at start when empty."""
    http_host: str = "127.0.0.1"
    http_port: int = 0
    """Of /health/live, /health/ready and /metrics. 0: a free port."""
    http_port_file: Path | None = None
    """Where the bound port is written, for whoever gave 0."""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str | None = None
    """Base URL of an OTLP http/protobuf collector; traces are recorded only when it is given."""
    drain_timeout_s: float = 20.0
    """From SIGTERM until the process gives up on finishing what it does."""
    data_dir: Path = Path("var")
    stream_replicas: int = 1
    """Copies of each JetStream stream. 3 on a cluster."""
    failpoints: str = ""
    """For tests: see failpoints.py."""
    failpoints_dir: Path | None = None


def load(cls: type[T], prefix: str, environ: Mapping[str, str]) -> T:
    """A `cls` from the variables `QD_<PREFIX>_<FIELD>`, or `QD_<FIELD>` with an empty prefix.

    Text is converted to the field's type; tuples are comma-separated; an empty variable counts as not set. Raises
    SettingsError naming the first variable that is missing or does not fit.
    """
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        variable = variable_name(prefix, field.name)
        text = environ.get(variable, "")
        if text:
            values[field.name] = _convert(variable, text, field.type)
        elif field.required:
            raise SettingsError(variable, "required and not set")
    return cls(**values)


def variable_name(prefix: str, field: str) -> str:
    """The environment variable of a field; for supervisors that pass settings on."""
    middle = f"{prefix.strip('_').upper()}_" if prefix.strip("_") else ""
    return f"{_PREFIX}{middle}{field.upper()}"


def _convert(variable: str, text: str, kind: Any) -> Any:
    if _is_tuple(kind):
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        return _checked(variable, parts, kind)
    return _checked(variable, text, kind)


def _checked(variable: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        raise SettingsError(variable, str(error)) from error


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _from_text(kind: type, value: Any) -> Any:
    """Hook of msgspec for types that it does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"no conversion to {kind}")
