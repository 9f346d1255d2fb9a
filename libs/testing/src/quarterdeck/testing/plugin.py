"""The pytest plugin: real NATS and Redis servers, and virtual machines, as layered fixtures.

Owns nothing itself; it names the modules whose fixtures every test of the workspace sees. Loaded by pytest
through the `pytest11` entry point of quarterdeck-testing.

    nats_server         a server of the test's own: kill it, pause it, restart it
    shared_nats_url     one server per session, without a single stream at the start of each test
    redis_server        a server of the test's own, with its append-only file
    shared_redis_url    one server per session, flushed before each test
    bare_machine        QEMU without a machine: monitors alone
    host_guest_agent    a guest agent on this host
    booted_guest        one small Linux per session, with every way to a guest
"""

pytest_plugins = [
    "quarterdeck.testing.machines.fixtures",
    "quarterdeck.testing.nats_fixtures",
    "quarterdeck.testing.redis_fixtures",
]
