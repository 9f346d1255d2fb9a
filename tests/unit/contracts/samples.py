"""One sample of every message that crosses a process boundary. Their bytes are in golden/, for ever.

To add a message: add it here, run `python -m tests.unit.contracts.samples`, commit the new file. An existing file is
never written again: if its test fails, the contract was broken, not the sample.
"""

from pathlib import Path
from typing import Any

from quarterdeck.contracts import codec
from quarterdeck.contracts.agents import AgentRecord, ApiToken, JoinToken
from quarterdeck.contracts.commands import CommandSpec, Retry, TimeoutClock
from quarterdeck.contracts.links import Carrier, Epoch, GatewayLease, LinkEnd, LinkRecord
from quarterdeck.contracts.orders import (
    ControlMessage,
    DispatchChunk,
    DispatchItem,
    GatewayCloseLinks,
    GatewayOrder,
    GatewayOrders,
    GatewayTerminate,
    OrderAnswer,
    OrderAnswers,
    QueuedMessage,
    TerminateItem,
    TerminateRequest,
    WakeRequest,
)
from quarterdeck.contracts.policies import Approval, CommandPolicy
from quarterdeck.contracts.reports import (
    Accepted,
    Progress,
    Rejected,
    ReportBatch,
    Result,
    Returned,
    Started,
    StreamReport,
    TerminateAcked,
)
from quarterdeck.contracts.states import CommandState

GOLDEN = Path(__file__).parent / "golden"

COMMAND = "01a1fd08-9b86-704f-9624-a7ae3da839d1"
BATCH = "01a1fd08-9b86-701e-ab67-f1836a463191"
SPEC = CommandSpec(
    command_type="shell",
    payload=b'{"command":"uptime"}',
    working_directory="/srv",
    env={"LANG": "C"},
    timeout_ms=30_000,
    timeout_from=TimeoutClock.CREATION,
    no_output_timeout_ms=5_000,
    grace_ms=2_000,
    priority=8,
    queue_for_ms=60_000,
    retry=Retry(max_attempts=3, backoff_ms=500),
)
_WHO: dict[str, Any] = {"command_id": COMMAND, "attempt": 2, "agent_id": "web-1", "at_ms": 1_763_700_000_123}

SAMPLES: dict[str, tuple[Any, Any]] = {
    # name: (type that decodes it, value)
    "command_spec_1": (CommandSpec, SPEC),
    "dispatch_chunk_1": (
        QueuedMessage,
        DispatchChunk(
            tenant="acme",
            user_id="ada",
            spec=SPEC,
            items=(DispatchItem(COMMAND, "web-1"), DispatchItem(BATCH, "hv-1", "vm-7")),
            created_at_ms=1_763_700_000_000,
            batch_id=BATCH,
        ),
    ),
    "terminate_request_1": (QueuedMessage, TerminateRequest(tenant="acme", batch_id=BATCH)),
    "wake_request_1": (QueuedMessage, WakeRequest(tenant="acme", command_id=COMMAND)),
    "gateway_orders_1": (
        GatewayOrders,
        GatewayOrders(
            tenant="acme",
            spec=SPEC,
            orders=(GatewayOrder(COMMAND, "web-1", 2, Epoch(1_763_700_000, 17), 29_500, None),),
            batch_id=BATCH,
        ),
    ),
    "order_answers_1": (OrderAnswers, OrderAnswers((OrderAnswer.QUEUED, OrderAnswer.BUSY, OrderAnswer.GONE))),
    "gateway_terminate_1": (
        ControlMessage,
        GatewayTerminate(tenant="acme", items=(TerminateItem(COMMAND, "web-1", 2, 2_000),)),
    ),
    "gateway_close_links_1": (
        ControlMessage,
        GatewayCloseLinks(tenant="acme", agent_ids=("web-1",), reason="revoked"),
    ),
    "report_batch_1": (
        ReportBatch,
        ReportBatch(
            gateway_id="gw-1",
            tenant="acme",
            reports=(
                Accepted(**_WHO),
                Rejected(**_WHO, reason="spool_full", error="no space"),
                Started(**_WHO),
                Progress(**_WHO, stdout=StreamReport(length=5, tail=b"\xff\x00")),
                Returned(**_WHO),
                TerminateAcked(**_WHO),
                Result(
                    **_WHO,
                    end=CommandState.FAILED,
                    reason="execution",
                    exit_code=3,
                    signal=9,
                    result=b'{"ok":false}',
                    error="exit 3",
                    started_at_ms=1_763_700_000_001,
                    stdout=StreamReport(
                        length=5, sha256=b"\x01" * 32, stored_sha256=b"\x01" * 32, tail=b"tail"
                    ),
                    stderr=StreamReport(length=0, truncated_bytes=7),
                ),
            ),
        ),
    ),
    "command_policy_1": (
        CommandPolicy,
        CommandPolicy(
            tenant="acme",
            allowed=("restart", "config.*"),
            cached_s={"status": 10},
            updated_at_ms=10,
            updated_by="ada",
        ),
    ),
    "approval_1": (
        CommandPolicy | Approval,
        Approval(tenant="acme", subject_id=COMMAND, approved_by="bob", at_ms=11),
    ),
    "link_1": (
        LinkRecord,
        LinkRecord(
            tenant="acme",
            agent_id="web-1",
            gateway_id="gw-1",
            carrier=Carrier.QUIC,
            since_ms=1,
            ended_at_ms=2,
            end=LinkEnd.DRAINING,
        ),
    ),
    "gateway_lease_1": (
        GatewayLease,
        GatewayLease(gateway_id="gw-1", carrier=Carrier.GRPC, renewed_at_ms=3, draining=True),
    ),
    "agent_1": (
        AgentRecord,
        AgentRecord(
            tenant="acme",
            agent_id="web-1",
            public_key=b"\x02" * 32,
            name="Web 1",
            labels={"role": "web"},
            facts={"os": "linux"},
            capabilities=("shell", "exec"),
            guests=("vm-7",),
            aliases={"client_id": "client-001"},
            version="0.1.0",
            enrolled_at_ms=4,
            last_seen_ms=5,
        ),
    ),
    "api_token_1": (
        ApiToken | JoinToken,
        ApiToken(token_id="t1", tenant="acme", principal="ada", created_at_ms=6, expires_at_ms=7),
    ),
    "join_token_1": (
        ApiToken | JoinToken,
        JoinToken(
            token_id="j1",
            tenant="acme",
            created_at_ms=8,
            expires_at_ms=9,
            uses_left=2,
            labels={"site": "lab"},
        ),
    ),
}


def write_missing() -> list[str]:
    """Writes golden files that do not exist yet; answers their names."""
    GOLDEN.mkdir(exist_ok=True)
    written = []
    for name, (_, value) in SAMPLES.items():
        path = GOLDEN / f"{name}.msgpack.hex"
        if not path.exists():
            path.write_text(codec.encode(value).hex() + "\n")
            written.append(name)
    return written


if __name__ == "__main__":
    print("\n".join(write_missing()) or "nothing new")
