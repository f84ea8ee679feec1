from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator.election import (
    DURATION_SECONDS,
    LEASE_NAME,
    LOOK_SECONDS,
    RENEW_SECONDS,
    TERM_SECONDS,
    Create,
    Deposed,
    Election,
    Take,
    Wait,
    given_back,
    held,
)
from gamecluster_operator.labels import Object

AT = datetime(2026, 1, 1, tzinfo=UTC)


def lease(holder: str | None, version: int = 1, duration: int | None = 15) -> Object:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": duration, "leaseTransitions": 3}
    said = {key: value for key, value in spec.items() if value is not None}
    return {"kind": "Lease", "metadata": {"name": LEASE_NAME, "resourceVersion": str(version)}, "spec": said}


def leading(sent_at: float = 0.0) -> Election:
    election = Election("a")
    election.won(lease("a"), sent_at, sent_at)
    return election


def test_without_a_lease_one_is_made() -> None:
    assert Election("a").next(0.0) == Create()


@pytest.mark.parametrize("holder", [None, ""])
def test_a_lease_that_nobody_holds_is_taken_at_once(holder: str | None) -> None:
    election = Election("a")
    election.saw(lease(holder), 5.0)
    assert election.next(5.0) == Take()


def test_a_lease_that_another_holds_is_taken_when_it_has_not_changed_for_its_duration() -> None:
    election = Election("a")
    election.saw(lease("b", 1), 100.0)
    assert election.next(100.0) == Wait(LOOK_SECONDS)
    election.saw(lease("b", 1), 114.0)
    assert election.next(114.9) == Wait(pytest.approx(0.1))
    election.saw(lease("b", 2), 114.9)
    assert election.next(115.0) == Wait(LOOK_SECONDS), "it was renewed"
    assert election.next(129.9) == Take()


def test_the_duration_is_the_one_that_its_holder_wrote() -> None:
    election = Election("a")
    election.saw(lease("b", duration=40), 0.0)
    assert election.next(39.0) == Wait(1.0)
    assert election.next(40.0) == Take()


def test_a_process_of_the_same_pod_is_not_the_same_holder() -> None:
    election = Election("pod_2")
    election.saw(lease("pod_1"), 0.0)
    assert election.next(0.0) == Wait(LOOK_SECONDS)


def test_a_standby_whose_write_failed_waits_before_the_next() -> None:
    election = Election("a")
    election.saw(None, 0.0)
    election.failed(0.0)
    assert election.next(0.25) == Wait(0.75)
    assert election.next(1.0) == Create()


def test_who_leads_renews_in_time() -> None:
    election = leading()
    assert election.next(1.0) == Wait(RENEW_SECONDS - 1.0)
    assert election.next(RENEW_SECONDS) == Take()
    election.failed(6.0)
    assert election.next(6.0) == Wait(LOOK_SECONDS)
    assert election.next(7.0) == Take()


def test_a_term_counts_from_when_its_write_was_sent() -> None:
    election = Election("a")
    election.won(lease("a"), 100.0, 103.0)
    assert election.leads(109.9)
    assert not election.leads(100.0 + TERM_SECONDS)


def test_who_could_not_renew_is_deposed_for_good() -> None:
    election = leading()
    assert isinstance(election.next(TERM_SECONDS), Deposed)
    election.won(lease("a", 2), 10.0, 10.0)
    assert not election.leads(10.0) and isinstance(election.next(10.0), Deposed)


@pytest.mark.parametrize("holder", ["b", ""])
def test_who_sees_another_holder_is_deposed_at_once(holder: str) -> None:
    election = leading()
    election.saw(lease(holder, 2), 1.0)
    assert not election.leads(1.0)
    assert isinstance(election.next(1.0), Deposed)


def test_a_lease_that_was_deleted_is_made_anew_by_who_leads() -> None:
    election = leading()
    election.saw(None, 1.0)
    assert election.leads(1.0)
    assert election.next(RENEW_SECONDS) == Create()


def test_who_was_slower_at_taking_it_waits_for_the_winner() -> None:
    election = Election("a")
    election.saw(lease(""), 0.0)
    election.failed(0.0)
    election.saw(lease("b", 2), 0.0)
    assert election.next(1.0) == Wait(LOOK_SECONDS)


def test_a_lease_that_is_taken_over_keeps_what_others_wrote_and_counts_the_change() -> None:
    before = lease("b", 7)
    before["metadata"]["annotations"] = {"theirs": "yes"}
    after = held(before, "ns", "a", AT)
    assert after["metadata"] == before["metadata"], "its version is the condition"
    assert after["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": DURATION_SECONDS,
        "leaseTransitions": 4,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }
    renewed = held(after, "ns", "a", AT.replace(minute=1))
    assert renewed["spec"] == {**after["spec"], "renewTime": "2026-01-01T00:01:00.000000Z"}


def test_a_lease_that_is_given_back_is_free_for_anybody() -> None:
    election = Election("b")
    election.saw(given_back(held(None, "ns", "a", AT)), 0.0)
    assert election.next(0.0) == Take()


things = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["step", "lost", "late", "look"]), st.floats(0.0, 8.0)), max_size=60
)


@given(things)
def test_no_two_ever_lead_at_the_same_time(happened: list[tuple[int, str, float]]) -> None:
    """Three of them on one Lease; looks come late, and writes are refused, lost, or accepted without an answer."""
    candidates, stored, version, now = [Election(name) for name in "abc"], None, 0, 0.0
    for who, what, seconds in happened:
        election = candidates[who]
        step = election.next(now)
        if what == "look" or not isinstance(step, (Create, Take)):
            election.saw(stored, now)
        elif (stored is None) == isinstance(step, Create) and (
            stored is None or election.lease["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]  # type: ignore[index]
        ):
            if what != "lost":
                version += 1
                made = held(stored, "ns", election.identity, AT)
                stored = {**made, "metadata": {**made["metadata"], "resourceVersion": str(version)}}
            sent_at, now = now, now + (min(seconds, 3.0) if what == "late" else 0.0)
            election.won(stored, sent_at, now) if what == "step" and stored else election.failed(now)
        else:
            election.failed(now)
            election.saw(stored, now)
        now += seconds
        assert sum(e.leads(now) for e in candidates) <= 1
