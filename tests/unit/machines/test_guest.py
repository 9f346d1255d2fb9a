"""What a guest says of itself in a log."""

from quarterdeck.machines.guest import Guest, ProtocolType, UnixEndpoint


def test_password_is_in_no_repr() -> None:
    guest = Guest(
        name="vm1",
        endpoints={ProtocolType.SPICE: UnixEndpoint("/run/vm1/spice.sock")},
        spice_password="s3cret",
    )

    shown = repr(guest)

    assert "s3cret" not in shown
    assert "vm1" in shown
    assert "/run/vm1/spice.sock" in shown
