"""Settings from environment variables."""

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from quarterdeck.core.settings import CoreSettings, SettingsError, load, variable_name


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    required: str
    port: int = 8080
    ratio: float = 0.5
    enabled: bool = False
    path: Path | None = None
    names: tuple[str, ...] = ()
    mode: Literal["fast", "safe"] = "safe"


def test_values_are_converted_to_their_types() -> None:
    sample = load(
        Sample,
        "SAMPLE",
        {
            "QD_SAMPLE_REQUIRED": "yes",
            "QD_SAMPLE_PORT": "0",
            "QD_SAMPLE_RATIO": "1",
            "QD_SAMPLE_ENABLED": "true",
            "QD_SAMPLE_PATH": "/var/lib/quarterdeck",
            "QD_SAMPLE_NAMES": "a, b,",
            "QD_SAMPLE_MODE": "fast",
            "QD_OTHER_PORT": "1",
        },
    )

    assert sample == Sample(
        required="yes",
        port=0,
        ratio=1.0,
        enabled=True,
        path=Path("/var/lib/quarterdeck"),
        names=("a", "b"),
        mode="fast",
    )


def test_empty_variable_counts_as_not_set() -> None:
    """Container manifests pass empty strings for what nobody filled in."""
    assert load(Sample, "SAMPLE", {"QD_SAMPLE_REQUIRED": "yes", "QD_SAMPLE_PORT": ""}).port == 8080


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("QD_SAMPLE_PORT", "eighty"),
        ("QD_SAMPLE_ENABLED", "perhaps"),
        ("QD_SAMPLE_MODE", "reckless"),
        ("QD_SAMPLE_RATIO", "1/2"),
    ],
)
def test_value_that_does_not_fit_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=variable) as caught:
        load(Sample, "SAMPLE", {"QD_SAMPLE_REQUIRED": "yes", variable: text})

    assert caught.value.variable == variable
    assert caught.value.field == variable


def test_missing_required_value_names_its_variable() -> None:
    with pytest.raises(SettingsError, match="QD_SAMPLE_REQUIRED"):
        load(Sample, "SAMPLE", {})


def test_shared_settings_have_no_middle_part() -> None:
    settings = load(CoreSettings, "", {"QD_NATS_URL": "nats://n:1", "QD_LOG_FORMAT": "json"})

    assert (settings.nats_url, settings.log_format) == ("nats://n:1", "json")
    assert variable_name("", "nats_url") == "QD_NATS_URL"
    assert variable_name("quic_gateway", "port") == "QD_QUIC_GATEWAY_PORT"
