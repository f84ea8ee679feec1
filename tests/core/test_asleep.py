"""The last pod stores everything, leaves its word in the record, and goes; who has what it stored wakes the game."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.durability import Kept
from gamecluster.core.messages import Asleep, Position

from .test_durability import Stored, played


def is_drained(cluster: Stored, name: str) -> bool:
    return any(isinstance(effect, do.Drained) for effect in cluster.effects[name])


def leave_one(cluster: Stored) -> str:
    """All but the leader go in an orderly way."""
    leader = cluster.leader()
    assert leader is not None
    for name in [name for name in cluster.nodes if name != leader]:
        cluster.tell(name, happened.DrainRequested())
        cluster.run(0.3)
        assert is_drained(cluster, name)
        cluster.kill(name)
    return leader


def send_to_sleep(cluster: Stored) -> str:
    """Returns the pod that went last."""
    last = leave_one(cluster)
    cluster.tell(last, happened.DrainRequested())
    cluster.run(4.0)
    assert is_drained(cluster, last)
    cluster.kill(last)
    return last


def wake(cluster: Stored, *names: str) -> None:
    """New lives, which look what their storages hold."""
    for name in names:
        cluster.add(name, boot=2)
        cluster.tell(name, happened.StorageLooked(cluster.disk(name).position))
    cluster.run(1.0)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("kept", [Kept.own, Kept.shared])
def test_a_game_sleeps_and_wakes_with_everything(kept: Kept, durable: bool) -> None:
    cluster, leader = played(kept=kept, durable=durable)
    cluster.ask(leader, amount=7)
    held = cluster.lease
    last = send_to_sleep(cluster)
    stored = cluster.disk(last).position
    assert stored is not None
    assert cluster.lease.holder is None and cluster.lease.in_sync == () and cluster.lease.epoch > held.epoch
    assert cluster.lease.asleep is not None and cluster.lease.asleep.position == stored
    wake(cluster, "a-0", "a-1", "a-2")
    heir = cluster.leader()
    assert heir is not None and (heir == last or kept is Kept.shared)
    assert cluster.total(heir) == 7
    assert cluster.lease.asleep is None and not cluster.lease.restore
    assert cluster.lease.epoch < held.epoch + 10, "nothing was lost, so no epoch is leapt over"


def test_what_was_not_stored_yet_is_stored_before_the_last_word() -> None:
    """With durability Memory a move is answered before it is stored; while the storage fails, nobody goes."""
    cluster, _ = played()
    last = leave_one(cluster)
    cluster.run(0.5)
    cluster.disk(last).works = False
    request = cluster.ask(last, amount=7)
    assert cluster.answer(last, request) is not None
    cluster.tell(last, happened.DrainRequested())
    cluster.run(8.0)
    assert not is_drained(cluster, last) and cluster.lease.asleep is None
    cluster.disk(last).works = True
    cluster.run(2.0)
    assert is_drained(cluster, last) and cluster.lease.asleep is not None
    assert cluster.disk(last).tables["totals"]["bob"] == {"value": 7}
    assert cluster.disk(last).writes[-1].tables is not None, "a snapshot, which is synced"


def test_nothing_is_taken_once_the_last_word_may_be_there() -> None:
    cluster, _ = played()
    last = leave_one(cluster)
    cluster.lease_answers = False
    cluster.tell(last, happened.DrainRequested())
    cluster.run(0.5)
    request = cluster.ask(last, amount=7)
    cluster.run(0.5)
    assert cluster.answer(last, request) is None
    cluster.run(4.0)
    assert is_drained(cluster, last), "it has read that its word is there"
    assert cluster.lease.asleep == Asleep(cluster.nodes[last].me, *_end(cluster, last))


def _end(cluster: Stored, name: str) -> tuple[int, int]:
    position = cluster.nodes[name].log.last
    return position.epoch, position.seq


def test_without_a_storage_the_last_one_goes_without_a_word() -> None:
    cluster, _ = played(kept=Kept.nowhere)
    last = send_to_sleep(cluster)
    assert cluster.lease.holder is not None and cluster.lease.asleep is None
    assert cluster.stores(last) == []


def test_one_who_comes_while_the_last_one_goes_gets_the_game_from_memory() -> None:
    cluster, _ = played()
    last = leave_one(cluster)
    cluster.disk(last).works = False
    cluster.tell(last, happened.DrainRequested())
    cluster.run(3.5)
    cluster.disk("a-1").works = True
    cluster.add("a-1", boot=2)
    cluster.run(1.0)
    assert cluster.leader() == "a-1" and is_drained(cluster, last)
    assert cluster.lease.asleep is None


@pytest.mark.parametrize("kept", [Kept.own, Kept.shared])
def test_who_has_stored_less_or_something_else_does_not_wake_it(kept: Kept) -> None:
    cluster, leader = played(kept=kept)
    cluster.ask(leader, amount=7)
    last = send_to_sleep(cluster)
    asleep = cluster.lease.asleep
    assert asleep is not None
    for position in (None, Position(asleep.epoch, asleep.seq - 1), Position(asleep.epoch, asleep.seq + 1)):
        cluster.disk(last).position = position
        wake(cluster, last)
        assert cluster.leader() is None and cluster.lease.asleep == asleep
        cluster.kill(last)


def test_of_own_storages_only_that_of_the_last_pod_counts() -> None:
    """Another one that ends at the same place may be one from before a restore that nobody knows of any more."""
    cluster, _ = played()
    last = send_to_sleep(cluster)
    other = next(name for name in ("a-0", "a-1", "a-2") if name != last)
    cluster.disks[other] = cluster.disk(last)
    wake(cluster, other)
    assert cluster.leader() is None
    wake(cluster, last)
    assert cluster.leader() == last


def test_a_last_word_of_an_epoch_that_has_passed_is_no_record_to_follow() -> None:
    """Somebody put it back by hand: who leads reclaims the Lease."""
    cluster, leader = played()
    cluster.run(0.5)
    stored = cluster.nodes[leader].position()
    word = Asleep(cluster.nodes[leader].me, stored.epoch, stored.seq)
    cluster.lease = replace(cluster.lease, version=cluster.lease.version + 1, holder=None, in_sync=(), asleep=word)
    for name in cluster.nodes:
        cluster.tell(name, happened.RecordRead(cluster.lease))
    cluster.run(2.0)
    assert cluster.lease.holder is not None and len(cluster.lease.in_sync) == 3 and cluster.leader() is not None
    assert cluster.answer(leader, cluster.ask(leader, amount=7)) is not None


def test_a_game_that_sleeps_twice_wakes_twice() -> None:
    cluster, leader = played(size=1)
    for player in ("carol", "dave"):
        cluster.join(leader, player)
        cluster.ask(leader, player=player, amount=7)
        assert send_to_sleep(cluster) == leader
        wake(cluster, leader)
    assert [cluster.total(leader, player) for player in ("carol", "dave")] == [7, 7]
