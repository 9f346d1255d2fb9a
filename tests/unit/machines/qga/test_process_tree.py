"""S2-24F: whose processes they are, from what a guest tells of them."""

from collections.abc import Iterable

import pytest

from quarterdeck.machines.qga.process_tree import GuestProcess, Look, ProcessTree, parse_look
from quarterdeck.machines.qga.qga import QgaProtocolBuilder

STAT = b"%d (%b) %b %d %d %d 0 -1 4194304 150 0 0 0 0 0 0 0 20 0 %d 0 %d 2654208 403 18446744073709551615 1 1 0 0 0 0\n"


def tree(leader_pid: int | None = 100) -> ProcessTree:
    made = ProcessTree(QgaProtocolBuilder().build(), "/bin/sh", "m")
    made.leader_pid = leader_pid
    return made


def process(
    pid: int, *, parent: int = 1, number: int = 0, started: int = 1_000, dead: bool = False
) -> GuestProcess:
    """`number`: of its group and session."""
    return GuestProcess(pid, parent, number, number, started, dead)


def members(of: ProcessTree, processes: Iterable[GuestProcess], marked: Iterable[int] = ()) -> set[int]:
    look = Look({one.pid: one for one in processes}, frozenset(marked))
    return {member.pid for member in of._members_in(look)}


def test_session_children_and_marked_ones_belong_to_it() -> None:
    processes = [
        process(1),
        process(100, number=100),
        process(101, parent=100, number=100),
        process(102, parent=101, number=7),  # left the session, not its parent
        process(103, number=103),  # a daemon
        process(104, parent=103, number=104),
        process(200, number=200),
    ]

    assert members(tree(), processes, marked=[103]) == {100, 101, 102, 103, 104}


def test_session_outlives_its_leader() -> None:
    known = tree()
    members(known, [process(100, number=100)])

    assert members(known, [process(101, number=100)]) == {101}


def test_stranger_with_the_number_of_a_leader_that_is_gone_is_left_alone() -> None:
    known = tree()
    members(known, [process(100, number=100, started=1_000)])

    assert members(known, [process(100, number=100, started=2_000)]) == set()


def test_session_of_a_leader_never_seen_is_trusted_if_a_member_carries_the_marker() -> None:
    processes = [process(101, number=100), process(102, number=100)]

    assert members(tree(), processes) == set()
    assert members(tree(), processes, marked=[101]) == {101, 102}


def test_command_whose_pid_is_unknown_is_found_by_its_marker() -> None:
    processes = [process(100, number=100), process(101, parent=100, number=7), process(200)]

    assert members(tree(None), processes, marked=[100]) == {100, 101}


def test_process_that_cleared_its_environment_and_left_is_still_known() -> None:
    known = tree()
    members(known, [process(100, number=100), process(105, parent=100, number=7)])

    assert members(known, [process(105, parent=1, number=105)]) == {105}
    assert members(known, [process(105, parent=1, number=105, started=9_000)]) == set()


def test_zombies_do_not_live() -> None:
    assert members(tree(), [process(100, number=100, dead=True)]) == set()


def test_look_is_read_whatever_processes_are_called() -> None:
    output = (
        STAT % (1, b"init", b"S", 0, 1, 1, 1, 3)
        + STAT % (7, b"a) R 1 (", b"S", 1, 7, 7, 1, 5)
        + STAT % (8, b"two\nlines", b"S", 1, 8, 8, 1, 6)
        + STAT % (9, b"sh", b"Z", 7, 7, 7, 1, 8)
        + STAT % (10, b"half dead", b"Z", 7, 7, 7, 2, 8)
        + b"\n/proc/7/environ\n/proc/12/environ\n"
    )

    look = parse_look(output)

    assert look.processes == {
        1: GuestProcess(1, 0, 1, 1, 3, False),
        7: GuestProcess(7, 1, 7, 7, 5, False),
        8: GuestProcess(8, 1, 8, 8, 6, False),
        9: GuestProcess(9, 7, 7, 7, 8, True),
        10: GuestProcess(10, 7, 7, 7, 8, False),
    }
    assert look.marked == {7, 12}


@pytest.mark.parametrize("output", [b"", b"\n", b"cat: not found\n", b"1 (x\n", b"\xff\x00" * 100])
def test_output_that_tells_nothing_has_no_processes(output: bytes) -> None:
    """S2-25F."""
    assert parse_look(output) == Look({}, frozenset())
