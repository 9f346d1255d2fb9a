"""The behaviour suite of links, bound once per wire."""

from tests.conformance.behaviours import LinkBehaviours
from tests.conformance.wires import AGENT_SERVICE, DEEPFLOW, NATIVE_GRPC, NATIVE_QUIC, QUICFLOW


class TestNativeOverQuic(LinkBehaviours):
    """S0-36, S0-37, S1-3, S1-4, S1-27"""

    wire = NATIVE_QUIC


class TestNativeOverGrpc(LinkBehaviours):
    """S0-36, S0-37, S1-3, S1-4, S1-27"""

    wire = NATIVE_GRPC


class TestAgentService(LinkBehaviours):
    """S4-7, S4-17, S4-18, S4-24, S4-29, S4-33, S4-35"""

    wire = AGENT_SERVICE


class TestDeepflow(LinkBehaviours):
    """S1-3, S1-4, S1-8, S1-14, S1-18, S1-20, S1-25, S1-29"""

    wire = DEEPFLOW


class TestQuicflow(LinkBehaviours):
    """S0-10, S0-12, S0-19, S0-20, S0-36, S0-37"""

    wire = QUICFLOW
