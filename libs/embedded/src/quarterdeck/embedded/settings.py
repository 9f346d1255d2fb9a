"""What `quarterdeck up` can be told. Built by the command line and the demo; read-only after."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

API_PORT: Final = 8080
GRPC_PORT: Final = 20035
QUIC_PORT: Final = 8474
"""The ports of the source systems; 8474 is UDP."""


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One embedded system. A port of 0 is the last run's where it is still free, else any free one."""

    data_dir: Path
    environ: Mapping[str, str]
    """What children inherit, without variables of ours (services.py adds those)."""
    agents: int = 0
    """Local agents: agent-1 over QUIC, agent-2 over gRPC, and so on."""
    port: int = API_PORT
    grpc_port: int = GRPC_PORT
    quic_port: int = QUIC_PORT
    plain_grpc_port: int | None = None
    """Of the first gRPC gateway's second port, without TLS, for agents of other protocols. None: there is none."""
    admit_dialects: bool = False
    """For trials: agents of other protocols that nobody registered are enrolled at first contact."""
    gateways_per_kind: int = 1
    """The ports above are the first gateway's; the others take free ones."""
    ready_file: Path | None = None
    """A second copy of run/ready.json, for whoever started us."""
    nats_url: str | None = None
    """A NATS with JetStream to use instead of an own one."""
    redis_url: str | None = None
    log_level: str = "info"


_OURS: Final = ("QD_", "QUARTERDECK_")
_PASSED_ON: Final = frozenset({"QD_OTLP_ENDPOINT", "QD_FAILPOINTS", "QD_FAILPOINTS_DIR"})


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as children may see it: the operator's QD_URL or QD_TOKEN must not leak into the services."""
    return {
        name: value for name, value in environ.items() if name in _PASSED_ON or not name.startswith(_OURS)
    }
