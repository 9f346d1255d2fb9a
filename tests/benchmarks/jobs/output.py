"""Output of one process on a real agent, from its pipe to the stored log, over each carrier.

The end is seen only after the bus confirmed every byte, and after the digest was checked.
"""

import time
from typing import Final

from quarterdeck.contracts.links import Carrier
from tests.benchmarks.client.commands import command_body, open_submitter
from tests.benchmarks.measurement import Bound, Figure, Measurement, Raw, Target
from tests.benchmarks.raw import grpc_stream, quic_upload
from tests.benchmarks.system import System

_MB: Final = 1_000_000
_GRPC_BYTES: Final = 400 * _MB
_QUIC_BYTES: Final = 60 * _MB


async def measure(system: System) -> Measurement:
    grpc_raw = await grpc_stream.upload_bytes_per_s(total_bytes=_GRPC_BYTES) / _MB
    grpc_product, grpc_cpu = await _stream(system, Carrier.GRPC, _GRPC_BYTES)
    quic_raw = await quic_upload.upload_bytes_per_s(total_bytes=_QUIC_BYTES) / _MB
    quic_product, quic_cpu = await _stream(system, Carrier.QUIC, _QUIC_BYTES)
    return Measurement(
        job="output",
        figures=(
            Figure(
                what="output over gRPC to the stored log",
                value=grpc_product,
                unit="MB/s",
                raw=Raw(value=grpc_raw, what="grpc.aio, 64 KiB messages, TLS"),
                target=Target(bound=Bound.AT_LEAST, limit=0.3, stretch=0.45, times_raw=True),
            ),
            Figure(
                what="output over QUIC to the stored log",
                value=quic_product,
                unit="MB/s",
                raw=Raw(value=quic_raw, what="aioquic upload"),
                target=Target(bound=Bound.AT_LEAST, limit=0.7, stretch=0.9, times_raw=True),
            ),
        ),
        details={**grpc_cpu, **quic_cpu},
    )


async def _stream(system: System, carrier: Carrier, total_bytes: int) -> tuple[float, dict[str, float | str]]:
    """MB/s, and CPU time by process."""
    argv = ["/usr/bin/head", "-c", str(total_bytes), "/dev/zero"]
    # All of it is to be kept: what an agent drops is quick.
    body = command_body(
        system.local_agent(carrier), "exec", {"argv": argv}, max_output_bytes=max(_GRPC_BYTES, _QUIC_BYTES)
    )
    async with open_submitter(system.endpoint, in_flight=1) as submitter:
        before_s, began_s = system.cpu_s(), time.perf_counter()
        took_ms = await submitter.run_command(body)
        took_s, after_s = time.perf_counter() - began_s, system.cpu_s()
    cpu: dict[str, float | str] = {
        f"CPU share over {carrier}, {name}": round((after_s[name] - before_s[name]) / took_s, 2)
        for name in after_s
    }
    return total_bytes / _MB / (took_ms / 1000), cpu
