"""Many watchers of one event stream in a process of its own, counting what they get.

Told `{"host", "port", "token", "path", "watchers"}`, it opens that many streams and says `{"open": n}`; when all
of them have ended it says `{"events", "bytes", "ended_s"}`: over all watchers, and by the machine's monotonic clock.
"""

import time

from tests.benchmarks.client.events import EventStream
from tests.benchmarks.client.http import Endpoint
from tests.benchmarks.companion import Benchmark, run_companion


class _Counting(EventStream):
    """Counts ends of events instead of cutting the stream into them: a thousand of these share one core."""

    events = 0
    received_bytes = 0
    _after_newline = False

    def on_body(self, part: bytes) -> None:
        self.received_bytes += len(part)
        self.events += part.count(b"\n\n") + (self._after_newline and part[:1] == b"\n")
        self._after_newline = part[-1:] == b"\n" and part[-2:] != b"\n\n"


async def main(benchmark: Benchmark) -> None:
    while (wish := await benchmark.hear()) is not None:
        endpoint = Endpoint(wish["host"], wish["port"], wish["token"])
        streams = [
            await _Counting.open(endpoint, wish["path"], lambda _event: None) for _ in range(wish["watchers"])
        ]
        benchmark.tell({"open": len(streams)})
        for stream in streams:
            await stream.ended.wait()
        benchmark.tell(
            {
                "ended_s": time.monotonic(),
                "events": sum(stream.events for stream in streams),
                "bytes": sum(stream.received_bytes for stream in streams),
            }
        )
        for stream in streams:
            stream.close()


if __name__ == "__main__":
    run_companion(main)
