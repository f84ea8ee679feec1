"""The record in a Lease, as the operator reads and writes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gamecluster_operator import labels as names
from gamecluster_operator.record import Incarnation, Record, read, write

A, B, C = (Incarnation(f"arena-{i}_pod{i}_1") for i in range(3))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HELD = Record(7, B, 5, (B, C), dead=(A,))
LEASE = write({"metadata": {"resourceVersion": "7", "annotations": {"note": "mine"}}}, HELD, NOON)


def test_what_is_written_is_read_and_what_others_wrote_stays() -> None:
    assert read(LEASE) == HELD
    assert LEASE["metadata"]["annotations"] == {"note": "mine", names.IN_SYNC: f"{B},{C}", names.DEAD: A}


def test_what_is_not_said_any_more_is_gone() -> None:
    restored = write(LEASE, replace(HELD, restore=True), NOON)
    vacant = write(restored, Record(7, None, 1005, (), never_held=True), NOON)
    assert read(vacant) == Record(7, None, 1005, (), never_held=True)
    assert set(vacant["metadata"]["annotations"]) == {"note", names.IN_SYNC, names.NEVER_HELD}
    assert "renewTime" not in vacant["spec"]


def test_the_times_of_a_holder_that_stays_are_its_own() -> None:
    later = NOON.replace(hour=13)
    assert write(LEASE, replace(HELD, dead=(A, C)), later)["spec"] == LEASE["spec"]
    assert write(LEASE, replace(HELD, holder=C), later)["spec"]["acquireTime"] == "2026-01-01T13:00:00.000000Z"
