"""The aggregator service: reports and output in, transitions and domain events out."""
