"""Limits that both ends of a wire must agree on. Each names its unit; each is checked at the edge that takes input."""

from typing import Final

MAX_PAYLOAD_BYTES: Final = 256 * 1024
"""Largest payload (script, argv, handler parameters) of one command, as JSON text."""

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
"""Largest HTTP request body. Refused by Content-Length, or while reading, never after."""

MAX_MESSAGE_BYTES: Final = 1024 * 1024 - 16 * 1024
"""Largest message we hand to NATS: its default max_payload (1 MiB) less room for headers."""

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""Largest frame on an agent link; gRPC's default message limit, kept for both carriers."""

OUTPUT_CHUNK_BYTES: Final = 64 * 1024
"""What an executor sends at once for one stream; under load several chunks share one frame."""

STORED_CHUNK_BYTES: Final = 256 * 1024
"""What a gateway packs into one stored output message when chunks wait for the one in flight."""

TAIL_BYTES: Final = 4 * 1024
"""How much of the end of each stream is kept beside the command's state, for summaries."""

CHUNK_TARGETS: Final = 500
"""Targets of a batch that share one dispatch message and one creation event."""

DEFAULT_MAX_OUTPUT_BYTES: Final = 256 * 1024 * 1024
"""What is kept of each stream of a command, when the request names no limit."""

MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024 * 1024
"""Largest limit that a request may name: more than the feed keeps of everybody would never be whole."""

MAX_ERROR_CHARS: Final = 8 * 1024
"""What is passed on of a command's error text."""

MAX_BATCH_TARGETS: Final = 50_000
"""Largest fan-out of one request."""

MAX_TIMEOUT_MS: Final = 7 * 24 * 3600 * 1000
"""A week. Longer jobs belong to a scheduler, and an absurd number is more often a wrong unit."""

DEFAULT_TIMEOUT_MS: Final = 3600 * 1000
"""An hour from process start, when the request names no timeout."""

TIMEOUT_PRESETS_MS: Final = {"quick": 10_000, "normal": 30_000, "long": 60_000}
"""Timeouts by name: to ask for a state, to change something, to restart or upgrade. Source: S0-16."""

MAX_DEPENDENCIES: Final = 100
"""Commands and batches that one request may depend on."""

DEPENDENCY_WAIT_MS: Final = MAX_TIMEOUT_MS
"""How long a command waits for its dependencies, or for an approval, when it does not say how long it may queue."""

MAX_IN_FLIGHT: Final = 50_000
"""Commands that have not ended, of all tenants together; beyond it none is taken in. Source: S0-17."""

DEFAULT_GRACE_MS: Final = 5000
"""Between SIGTERM and SIGKILL."""

SETTLE_MS: Final = 10_000
"""How long an agent may be without a link before a command for it is unreachable; also how long a `sent` command waits
for its acknowledgement before it is handed over again."""

PRIORITY_DEFAULT: Final = 5
