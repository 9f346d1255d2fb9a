"""The floor every service stands on: runtime, settings, telemetry, clock, bus, store, registry.

Only this package talks to NATS (bus, registry) and Redis (store).
"""
