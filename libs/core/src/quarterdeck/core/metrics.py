"""Every metric of the product, in one registry per process, in Prometheus' text format.

Owns names, labels and buckets; the parts count. Labels never hold ids of commands or agents. Exposed by the runtime
(and by api and broadcaster through their own servers) under /metrics.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry(auto_describe=True)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DURATION_BUCKETS_S: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)
_AGE_BUCKETS_S: Final = (1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)

# The five that S0-22 names. Completed over sent is the success rate of S1-22.

COMMAND_SENT: Final = Counter(
    "command_sent_total", "Commands handed to a gateway.", ["command_type"], registry=REGISTRY
)
COMMAND_COMPLETED: Final = Counter(
    "command_completed_total", "Commands that succeeded.", ["command_type"], registry=REGISTRY
)
COMMAND_FAILED: Final = Counter(
    "command_failed_total",
    "Commands that ended in any other way than success or time-out.",
    ["command_type", "state"],
    registry=REGISTRY,
)
COMMAND_TIMEOUT: Final = Counter(
    "command_timeout_total", "Commands that timed out.", ["command_type", "reason"], registry=REGISTRY
)
COMMAND_DURATION: Final = Histogram(
    "command_duration_seconds",
    "From creation to the end, whatever end.",
    ["command_type"],
    buckets=_DURATION_BUCKETS_S,
    registry=REGISTRY,
)

# Links, for S1-22.

LINKS_CONNECTED: Final = Gauge(
    "links_connected", "Links open now.", ["carrier", "dialect"], registry=REGISTRY
)
LINK_AGE: Final = Histogram(
    "link_age_seconds",
    "How old links were when they ended.",
    ["carrier", "dialect"],
    buckets=_AGE_BUCKETS_S,
    registry=REGISTRY,
)
LINK_ENDS: Final = Counter(
    "link_ends_total", "Links ended, by reason.", ["carrier", "end"], registry=REGISTRY
)
LINK_RESPONSE: Final = Histogram(
    "link_response_seconds",
    "From an order written to a link until the agent acknowledged it.",
    ["carrier"],
    buckets=_LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
HEARTBEATS: Final = Counter("heartbeats_total", "Heartbeats received.", ["carrier"], registry=REGISTRY)
LINK_TIMEOUTS: Final = Counter(
    "link_timeouts_total", "Links closed because they were silent.", ["carrier"], registry=REGISTRY
)
UNDECODABLE_FRAMES: Final = Counter(
    "undecodable_frames_total", "Frames that closed their link.", ["carrier"], registry=REGISTRY
)
FENCED_MESSAGES: Final = Counter(
    "fenced_messages_total",
    "Messages of agents that belong to no command of their link, or come after its end.",
    ["dialect"],
    registry=REGISTRY,
)
DIALECT_EVENTS: Final = Counter(
    "dialect_events_total",
    "Events that agents of other protocols sent by themselves: callback (of a command) or other.",
    ["dialect", "event"],
    registry=REGISTRY,
)
AGENTS_REFUSED: Final = Counter(
    "agents_refused_total",
    "Agents of other protocols that were turned away.",
    ["dialect", "reason"],
    registry=REGISTRY,
)
OUTPUT_BYTES: Final = Counter("output_bytes_total", "Output stored.", ["stream"], registry=REGISTRY)

# Bus and store.

DEAD_LETTERS: Final = Counter(
    "dead_letters_total", "Messages put aside.", ["stream", "reason"], registry=REGISTRY
)
HANDLER_FAILURES: Final = Counter(
    "consumer_handler_failures_total", "Unexpected failures of a consumer.", ["consumer"], registry=REGISTRY
)
BUS_CONNECTS: Final = Counter("bus_connects_total", "Connections made to NATS.", registry=REGISTRY)
OUTBOX_RELAYED: Final = Counter(
    "outbox_relayed_total", "Outbox entries confirmed by the bus.", ["by"], registry=REGISTRY
)
"""`by`: `writer` right after the commit, `sweep` for what was left."""
OUTBOX_UNCONFIRMED: Final = Counter(
    "outbox_unconfirmed_total", "Relays that the bus did not confirm in time.", registry=REGISTRY
)
REPORTS_STALE: Final = Counter(
    "reports_stale_total", "Reports behind the stored state; they changed nothing.", registry=REGISTRY
)

# Sessions, for S3-14.

SESSION_LATENCY: Final = Histogram(
    "session_command_latency_seconds",
    "From a session's command received until it is stored and told, or refused.",
    buckets=_LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SESSION_TRANSACTION: Final = Histogram(
    "session_transaction_seconds",
    "The act that writes command, event, outbox entry and round.",
    buckets=_LATENCY_BUCKETS_S,
    registry=REGISTRY,
)
SESSION_IDEMPOTENCY: Final = Counter(
    "session_idempotency_checks_total",
    "Requests by what stood for them: an earlier one's `key`, a `pending` command, or `none`.",
    ["hit"],
    registry=REGISTRY,
)
SESSION_ERRORS: Final = Counter(
    "session_errors_total",
    "Requests refused: access, validation, concurrency or storage.",
    ["kind"],
    registry=REGISTRY,
)

# HTTP and watchers.

HTTP_REQUESTS: Final = Counter(
    "http_requests_total", "Requests answered.", ["route", "status"], registry=REGISTRY
)
WATCHERS: Final = Gauge("watchers_connected", "Open event streams.", registry=REGISTRY)
WATCHERS_CUT: Final = Counter(
    "watchers_cut_total", "Watchers cut off because they stopped reading.", registry=REGISTRY
)


def render_metrics() -> bytes:
    """All of it as CONTENT_TYPE."""
    return generate_latest(REGISTRY)
