"""How hard a property test tries: its share of what the chosen Hypothesis profile allows (tests/conftest.py).

A test says what is enough for everyday; `--hypothesis-profile=long` multiplies that.
"""

from typing import Final

import hypothesis

EVERYDAY_EXAMPLES: Final = 100
"""`max_examples` of the everyday profile."""


def effort(examples: int, *, steps: int = 50) -> hypothesis.settings:
    """Settings for `examples` examples a day. `steps`: of a state machine, per example."""
    profile = hypothesis.settings()
    return hypothesis.settings(
        max_examples=max(1, examples * profile.max_examples // EVERYDAY_EXAMPLES),
        stateful_step_count=steps,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
