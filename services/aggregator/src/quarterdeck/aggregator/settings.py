"""Settings of the aggregator; environment prefix `QD_AGGREGATOR_`."""

import msgspec


class AggregatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    pull_messages: int = 300
    """Most report messages (each up to 256 reports) that are applied together."""
