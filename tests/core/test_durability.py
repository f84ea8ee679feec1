"""Storage, told step by step: what is written when, what a commit waits for, and how all is restored after everybody died."""

from __future__ import annotations

from typing import Any

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.durability import BATCH, MAX_UNSTORED, ROWS_FOR_AN_ENTRY, SNAPSHOT_EVERY, Durability, Kept
from gamecluster.core.messages import Entry, Fields, Incarnation, Position, Record, Tables, name_of
from gamecluster.core.replication import Log, apply
from gamecluster.core.view import Status, StorageState

from .cluster import Cluster


class Disk:
    """A pod's own storage, or the one that all share."""

    def __init__(self) -> None:
        self.works = True
        self.answers = True
        self.position: Position | None = None
        self.tables: Tables = {}
        self.snapshots = 0
        self.writes: list[do.Store] = []

    def write(self, store: do.Store) -> happened.Event | None:
        if not self.works:
            return happened.StoreFailed("disk full")
        self.writes.append(store)
        if store.tables is not None:
            self.snapshots += 1
            self.tables = {name: dict(rows) for name, rows in store.tables.items()}
        else:
            assert store.base == self.position, f"{store.base} does not follow {self.position}"
        for entry in store.entries:
            apply(self.tables, entry.ops)
        self.position = store.last
        return happened.Stored(store.last, len(store.entries)) if self.answers else None


class Stored(Cluster):
    """A cluster whose pods have disks; those of ``disks`` outlive their pods."""

    def __init__(self, size: int = 3, kept: Kept = Kept.own, durable: bool = False) -> None:
        self.disks: dict[str, Disk] = {}
        self._kept = kept
        super().__init__(size, storage=kept, durable=durable)

    def disk(self, name: str) -> Disk:
        return self.disks.setdefault(name if self._kept is Kept.own else "all", Disk())

    def restore(self, name: str, epoch: int = 5000) -> None:
        """What the backstop does when all that were in sync are dead."""
        me = self.nodes[name].me
        self.lease = Record(self.lease.version + 1, me, epoch, (me,), restore=True)
        for other in list(self.nodes):
            self.tell(other, happened.RecordRead(self.lease))

    def _carry_out(self, name: str, effects: list[do.Effect]) -> None:
        super()._carry_out(name, effects)
        for effect in effects:
            answer: happened.Event | None = None
            if isinstance(effect, do.Store):
                answer = self.disk(name).write(effect)
            elif isinstance(effect, do.LoadStored):
                disk = self.disk(name)
                if disk.works and disk.position:
                    answer = happened.StoredLoaded(disk.position, {n: dict(rows) for n, rows in disk.tables.items()})
                else:
                    answer = happened.StoredUnreadable("nothing is stored")
            if answer is not None:
                self._queue.append((name, answer))

    def stores(self, name: str) -> list[do.Store]:
        return [effect for effect in self.effects[name] if isinstance(effect, do.Store)]


def played(size: int = 3, **how: Any) -> tuple[Stored, str]:
    cluster = Stored(size, **how)
    leader = cluster.leader()
    assert leader is not None
    answer = cluster.join(leader)
    assert answer is not None and answer.ok
    return cluster, leader


def test_without_a_storage_nothing_is_written() -> None:
    cluster, leader = played(kept=Kept.nowhere)
    assert cluster.stores(leader) == []
    assert cluster.nodes[leader].view().storage is StorageState.memory


def test_every_pod_keeps_what_is_committed_on_its_own_volume() -> None:
    cluster, leader = played()
    cluster.ask(leader, amount=7)
    cluster.run(0.5)
    for name, node in cluster.nodes.items():
        assert cluster.disk(name).tables["totals"]["bob"] == {"value": 7}, name
        assert cluster.disk(name).position == node.log.committed
        assert node.view().stored == {"epoch": node.log.committed.epoch, "seq": node.log.committed.seq}
        assert node.view().storage is StorageState.ready


def test_only_the_leader_writes_to_a_storage_that_pods_share_and_says_its_epoch() -> None:
    cluster, leader = played(kept=Kept.shared)
    cluster.run(0.5)
    assert [name for name in cluster.nodes if cluster.stores(name)] == [leader]
    epoch = cluster.nodes[leader].epoch
    assert {store.writer for store in cluster.stores(leader)} == {epoch}


def test_a_new_leader_begins_a_shared_storage_anew() -> None:
    """It can't know what the old one has written there."""
    cluster, leader = played(kept=Kept.shared)
    cluster.run(0.5)
    cluster.kill(leader)
    cluster.run(2.0)
    heir = cluster.leader()
    assert heir is not None
    first = cluster.stores(heir)[0]
    assert first.tables is not None and first.writer == cluster.nodes[heir].epoch


def test_one_write_is_under_way_and_the_rest_goes_with_the_next() -> None:
    cluster, leader = played(size=1)
    cluster.run(0.5)
    disk = cluster.disk(leader)
    disk.answers = False
    before = len(disk.writes)
    for _ in range(300):
        cluster.ask(leader)
    cluster.run(1.0)
    assert len(disk.writes) == before + 1
    disk.answers = True
    cluster.tell(leader, happened.Stored(disk.writes[-1].last, len(disk.writes[-1].entries)))
    cluster.run(0.2)
    assert len(disk.writes) == before + 2
    assert disk.position == cluster.nodes[leader].log.committed


def test_a_snapshot_replaces_a_long_journal() -> None:
    cluster, leader = played(size=1)
    cluster.run(0.5)
    disk = cluster.disk(leader)
    assert disk.snapshots == 1
    for _ in range(SNAPSHOT_EVERY + 200):
        cluster.ask(leader)
        cluster.run(0.02)
    cluster.run(0.3)
    assert disk.snapshots == 2
    assert max(len(store.entries) for store in disk.writes) <= BATCH
    assert disk.tables["totals"]["bob"] == {"value": SNAPSHOT_EVERY + 200}


def test_a_snapshot_from_the_leader_is_a_snapshot_on_the_volume() -> None:
    cluster, leader = played(size=1)
    for _ in range(4500):
        cluster.ask(leader)
    late = cluster.add("a-9")
    cluster.run(1.0)
    assert late.log.committed == cluster.nodes[leader].log.committed
    assert cluster.disk("a-9").tables["totals"]["bob"] == {"value": 4500}


def test_durable_means_that_nobody_is_told_before_the_leader_has_stored_it() -> None:
    cluster, leader = played(durable=True)
    other = next(name for name in cluster.nodes if name != leader)
    disk = cluster.disk(leader)
    disk.answers = False
    request = cluster.ask(leader)
    cluster.run(1.0)
    assert cluster.answer(leader, request) is None
    assert cluster.total(leader) == cluster.total(other) == 0
    disk.answers = True
    cluster.tell(leader, happened.Stored(disk.writes[-1].last, len(disk.writes[-1].entries)))
    cluster.run(0.2)
    answer = cluster.answer(leader, request)
    assert answer is not None and answer.ok and cluster.total(leader) == cluster.total(other) == 1


def test_a_storage_that_fails_stops_no_game_in_memory() -> None:
    cluster, leader = played()
    cluster.run(0.5)
    cluster.disk(leader).works = False
    request = cluster.ask(leader)
    cluster.run(3.0)
    answer = cluster.answer(leader, request)
    assert answer is not None and answer.ok
    assert cluster.nodes[leader].view().storage is StorageState.failing
    said = [text for text in cluster.said(leader) if "disk full" in text]
    assert len(said) == 1 and "play goes on" in said[0]
    cluster.disk(leader).works = True
    cluster.run(1.5)
    assert cluster.disk(leader).tables["totals"]["bob"] == {"value": 1}
    assert cluster.nodes[leader].view().storage is StorageState.ready


def test_a_durable_game_stalls_with_its_storage_and_goes_on_with_it() -> None:
    cluster, leader = played(durable=True)
    cluster.disk(leader).works = False
    request = cluster.ask(leader)
    cluster.run(2.0)
    view = cluster.nodes[leader].view()
    assert cluster.answer(leader, request) is None
    assert view.status is Status.stalled and "disk full" in view.reason
    cluster.disk(leader).works = True
    cluster.run(1.5)
    answer = cluster.answer(leader, request)
    assert answer is not None and answer.ok
    assert cluster.nodes[leader].view().status is Status.serving


def test_what_a_durable_leader_has_not_stored_is_bounded() -> None:
    cluster, leader = played(size=1, durable=True)
    cluster.disk(leader).works = False
    for _ in range(MAX_UNSTORED + 500):
        cluster.ask(leader)
    log = cluster.nodes[leader].log
    assert log.last.seq - log.committed.seq == MAX_UNSTORED
    cluster.disk(leader).works = True
    cluster.run(1.5)
    assert cluster.total(leader) == MAX_UNSTORED + 500


def test_what_was_stored_comes_back_when_everybody_is_dead() -> None:
    cluster, leader = played(durable=True)
    joined = cluster.effects[leader]
    stay = next(e.response["stay"] for e in joined if isinstance(e, do.Answer) and e.join)
    cluster.ask(leader, n=1, amount=3)
    cluster.run(0.3)
    before = cluster.nodes[leader].log.committed
    for name in list(cluster.nodes):
        cluster.kill(name)
    for i in range(3):
        cluster.add(f"a-{i}", boot=2)
    cluster.run(0.5)
    assert cluster.leader() is None
    cluster.restore(leader)
    cluster.run(1.0)
    assert cluster.leader() == leader
    assert [cluster.total(name) for name in cluster.nodes] == [3, 3, 3]
    assert cluster.nodes[leader].log.committed > Position(5000, before.seq)
    assert not cluster.lease.restore and set(map(name_of, cluster.lease.in_sync)) == set(cluster.nodes)
    again = cluster.join(leader, stay=stay)  # the player's own place, and the count of moves goes on
    assert again is not None and again.ok
    repeated = cluster.ask(leader, n=1, amount=3)
    cluster.run(0.2)
    answer = cluster.answer(leader, repeated)
    assert answer is not None and answer.ok and cluster.total(leader) == 3


def test_nobody_is_taken_into_the_set_before_the_state_is_loaded() -> None:
    cluster, leader = played(durable=True)
    cluster.run(0.3)
    for name in list(cluster.nodes):
        cluster.kill(name)
    for i in range(3):
        cluster.add(f"a-{i}", boot=2)
    cluster.disk(leader).works = False
    cluster.restore(leader)
    cluster.run(3.0)
    view = cluster.nodes[leader].view()
    assert cluster.lease.restore and cluster.lease.in_sync == (cluster.nodes[leader].me,)
    assert cluster.leader() is None and view.status is Status.stalled and "nothing is stored" in view.reason
    cluster.disk(leader).works = True
    cluster.run(2.0)
    assert cluster.leader() == leader and len(cluster.lease.in_sync) == 3


def test_a_learner_that_lived_through_it_takes_over_what_was_restored() -> None:
    """It may have seen more than what was stored; what counts is the restored state, at a higher epoch."""
    cluster, leader = played()
    cluster.run(0.5)
    survivor = next(name for name in cluster.nodes if name != leader)
    old = cluster.disk(leader)
    old.answers = False
    for _ in range(5):
        cluster.ask(leader, amount=1)
    cluster.run(0.01)
    assert cluster.total(survivor) == 5
    kept = old.tables["totals"]["bob"]["value"]
    for name in list(cluster.nodes):
        if name != survivor:
            cluster.kill(name)
    cluster.lease = Record(cluster.lease.version + 1, Incarnation("x_uid_1"), 4000, (Incarnation("x_uid_1"),))
    cluster.tell(survivor, happened.RecordRead(cluster.lease))
    cluster.add(leader, boot=2)
    old.answers = True
    cluster.restore(leader)
    cluster.run(1.0)
    assert cluster.leader() == leader
    assert cluster.total(leader) == cluster.total(survivor) == kept
    states = [e for e in cluster.effects[survivor] if isinstance(e, do.DeliverState)]
    assert states[-1].epoch == 5000


def test_a_new_life_does_not_replace_what_its_disk_has_by_less() -> None:
    """It may be the only disk with what was answered: while that of its successor does not work, nothing is committed anew."""
    cluster, leader = played(durable=True)
    cluster.run(0.5)
    for name in cluster.nodes:
        cluster.disk(name).works = name == leader
    cluster.disk(leader).answers = False
    cluster.ask(leader, amount=7)
    end = cluster.disk(leader).position
    cluster.kill(leader)
    cluster.disk(leader).answers = True
    cluster.run(2.0)
    heir = cluster.leader()
    assert heir is not None and end is not None and cluster.nodes[heir].position() < end
    cluster.cut = {pair for other in cluster.nodes for pair in ((leader, other), (other, leader))}
    cluster.add(leader, boot=2)
    cluster.tell(leader, happened.StorageLooked(end))
    cluster.cut = set()
    cluster.run(3.0)
    assert cluster.disk(leader).position == end
    assert cluster.disk(leader).tables["totals"]["bob"] == {"value": 7}
    cluster.disk(heir).works = True
    cluster.run(3.0)
    stored = cluster.disk(leader).position
    assert stored is not None and end is not None and stored > end, "as soon as there is more"


def test_a_large_state_is_written_anew_after_an_entry_for_every_so_many_rows() -> None:
    log, durability = Log(), Durability(Kept.own, waits=False)
    entries = 2 * SNAPSHOT_EVERY
    rows: dict[str, Fields] = {f"p{number}": {"score": number} for number in range(entries * ROWS_FOR_AN_ENTRY)}
    log.install(Position(1, 1), {"$board:wins:1": rows})
    snapshots = []
    for number in range(2, 2 * entries):
        log.append(Entry(1, number, [], [], []))
        log.commit(number)
        for effect in durability.write(log, 1, False, False, number):
            assert isinstance(effect, do.Store)
            snapshots += [number] if effect.tables is not None else []
            durability.stored(effect.last, len(effect.entries))
    assert snapshots == [2, 2 + entries + 1]
