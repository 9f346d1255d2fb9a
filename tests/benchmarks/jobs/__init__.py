"""What is measured: one module per job, each with a `measure(system)`, in the order of a run.

Each asks the modules of `raw/` for the limit of the same hops first, so that both are measured minutes apart at most.
"""

from typing import Final

from tests.benchmarks.jobs import (
    batches,
    fanout,
    footprint,
    guests,
    output,
    processes,
    single_commands,
    stalled,
)
from tests.benchmarks.system import Job

JOBS: Final[dict[str, Job]] = {
    "footprint": footprint.measure,  # first: it wants services that have done nothing yet
    "single_commands": single_commands.measure,
    "batch_100": batches.measure_small,
    "processes": processes.measure,
    "guests": guests.measure,
    "output": output.measure,
    "fanout": fanout.measure,
    "stalled": stalled.measure,
    "batch_10000": batches.measure_large,
}
