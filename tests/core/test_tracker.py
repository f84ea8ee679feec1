"""Who is where, on every pod: told step by step, and shown for any order, loss and duplication of what pods say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster.core import tracker as core
from gamecluster.core.effects import PresenceChanged, Presences, SendPeer
from gamecluster.core.events import PresenceWatched, Tracked, TrackerEnded, Untracked
from gamecluster.core.messages import Fields, Incarnation, Message, Space, incarnation, name_of
from gamecluster.core.tracker import Tracker

GRACE, SUSPECT_AFTER, TICK = 0.5, 0.5, 0.02
ROOM, GUARDS = "room:1", "guards"


class Pod:
    """A tracker, and what a client at it makes of the diffs (phoenix.js, ``Presence.syncDiff``)."""

    def __init__(self, name: str, boot: int, diff_every: float) -> None:
        self.me = incarnation(name, "uid", boot)
        self.tracker = Tracker(self.me, GRACE, diff_every)
        self.heard: dict[Incarnation, float] = {}
        self.diffs: list[PresenceChanged] = []
        self.seen: dict[str, dict[str, list[Fields]]] = {}

    def __repr__(self) -> str:
        return self.me

    def sync(self, diff: PresenceChanged) -> None:
        self.diffs.append(diff)
        state = self.seen.setdefault(diff.topic, {})
        for key, joined in diff.joins.items():
            assert not {m["phx_ref"] for m in state.get(key, [])} & {m["phx_ref"] for m in joined["metas"]}, diff
            state[key] = [*state.get(key, []), *joined["metas"]]
        for key, left in diff.leaves.items():
            gone = {meta["phx_ref"] for meta in left["metas"]}
            assert gone <= {meta["phx_ref"] for meta in state.get(key, [])}, f"{diff} of {state}"
            state[key] = [meta for meta in state[key] if meta["phx_ref"] not in gone]
            if not state[key]:
                del state[key]

    def keys(self) -> set[str]:
        return set(self.seen.get(ROOM, {}))


class Mesh:
    """Pods, and what is on its way between them. ``up``: the links, by number; a message belongs to one."""

    def __init__(self, *names: str, diff_every: float = 0.0) -> None:
        self.now = 100.0
        self._diff_every = diff_every
        self.pods: dict[str, Pod] = {}
        self.up: dict[frozenset[Pod], int] = {}
        self.wire: list[tuple[Pod, Pod, int, bytes]] = []
        self._boots = 0
        self._links = 0
        for name in names:
            self.start(name)

    def start(self, name: str) -> Pod:
        self._boots += 1
        pod = self.pods[name] = Pod(name, self._boots, self._diff_every)
        for other in [other for other in self.pods.values() if other is not pod]:
            self.link(pod, other)
        return pod

    def kill(self, name: str) -> None:
        dead = self.pods.pop(name)
        for other in self.pods.values():
            self.cut(dead, other)

    def link(self, one: Pod, other: Pod) -> None:
        self._links += 1
        self.up[frozenset((one, other))] = self._links
        for me, peer in ((one, other), (other, one)):
            me.heard[peer.me] = self.now
            me.tracker.link_up(peer.me)

    def cut(self, one: Pod, other: Pod) -> None:
        if self.up.pop(frozenset((one, other)), None) is not None:
            one.tracker.link_down(other.me, self.now)
            other.tracker.link_down(one.me, self.now)

    def tell(self, name: str, event: core.Told, ends_turn: bool = True) -> None:
        pod = self.pods[name]
        pod.tracker.told(event, self.now)
        if ends_turn:
            self.end_turn(pod)

    def track(self, name: str, key: str, by: int = 1, **meta: Any) -> None:
        self.tell(name, Tracked(Space.presence, ROOM, key, (by, 1), meta))

    def lose_socket(self, name: str, by: int = 1) -> None:
        self.tell(name, TrackerEnded((by, 1), wanted=False))

    def end_turn(self, pod: Pod) -> None:
        linked = [peer.me for peer in self.pods.values() if frozenset((pod, peer)) in self.up]
        if pod.tracker.has_news:
            for effect in pod.tracker.turn_ended(linked, self.now):
                if isinstance(effect, PresenceChanged):
                    pod.sync(effect)
                else:
                    self._send(pod, effect)
        assert not pod.tracker.has_news

    def say_hello(self) -> None:
        for pod in self.pods.values():
            for peer in self.pods.values():
                if frozenset((pod, peer)) in self.up:
                    peer.heard[pod.me] = self.now
                    self._take(peer, peer.tracker.hello(pod.me, pod.tracker.version, self.now))

    def deliver(self, index: int = 0, keep: bool = False) -> None:
        source, target, link, data = self.wire[index] if keep else self.wire.pop(index)
        if self.up.get(frozenset((source, target))) == link and target in self.pods.values():
            target.heard[source.me] = self.now
            message = msgspec.msgpack.decode(data, type=Message)
            self._take(target, target.tracker.said(source.me, cast(core.Said, message), self.now))

    def run(self, seconds: float, silent: Sequence[str] = ()) -> None:
        """Time passes; everybody but the ``silent`` is heard every 20 ms."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            for pod in self.pods.values():
                for peer in self.pods.values():
                    if peer.me in pod.heard and name_of(peer.me) not in silent:
                        pod.heard[peer.me] = self.now
                pod.tracker.ticked(self.now, 0.0, lambda peer, _, pod=pod: self._silent_since(pod, peer))
                self.end_turn(pod)

    def settle(self, seconds: float = 2 * GRACE) -> None:
        """All links work, nothing is lost any more."""
        for one in self.pods.values():
            for other in self.pods.values():
                if one is not other and frozenset((one, other)) not in self.up:
                    self.link(one, other)
        for _ in range(3):
            self.flow()
            self.run(seconds / 3)

    def flow(self) -> None:
        self.say_hello()
        while self.wire:
            self.deliver()

    def _silent_since(self, pod: Pod, peer: Incarnation) -> float | None:
        heard = pod.heard[peer]
        return heard if self.now - heard > SUSPECT_AFTER else None

    def _take(self, pod: Pod, effects: list[SendPeer]) -> None:
        for effect in effects:
            self._send(pod, effect)
        self.end_turn(pod)

    def _send(self, pod: Pod, effect: SendPeer) -> None:
        target = next(peer for peer in self.pods.values() if peer.me == effect.peer)
        link = self.up[frozenset((pod, target))]
        self.wire.append((pod, target, link, msgspec.msgpack.encode(effect.message)))


def test_everybody_sees_who_is_there_under_the_same_refs() -> None:
    mesh = Mesh("a", "b", "c")
    mesh.track("a", "ann", level=3)
    mesh.track("b", "bob", by=2)
    mesh.flow()
    views = [pod.tracker.roster.presences(ROOM) for pod in mesh.pods.values()]
    assert views[0] == views[1] == views[2]
    [ann] = views[0]["ann"]["metas"]
    assert ann.pop("phx_ref") and ann == {"level": 3}
    assert [pod.keys() for pod in mesh.pods.values()] == [{"ann", "bob"}] * 3


def test_a_new_meta_takes_the_place_of_the_old_in_one_diff() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann", level=3)
    mesh.flow()
    before = mesh.pods["b"].seen[ROOM]["ann"][0]["phx_ref"]
    mesh.track("a", "ann", level=4)
    mesh.flow()
    diff = mesh.pods["b"].diffs[-1]
    [joined], [left] = diff.joins["ann"]["metas"], diff.leaves["ann"]["metas"]
    assert (joined["level"], joined["phx_ref_prev"], left["phx_ref"]) == (4, before, before)
    count = len(mesh.pods["b"].diffs)
    mesh.track("a", "ann", level=4)
    mesh.flow()
    assert len(mesh.pods["b"].diffs) == count


def test_what_one_turn_brings_is_one_diff_of_what_is_left_of_it() -> None:
    mesh = Mesh("a", "b")
    for number in range(3):
        mesh.tell("a", Tracked(Space.presence, ROOM, f"p{number}", (number, 1), {}), ends_turn=False)
    mesh.tell("a", Untracked(Space.presence, ROOM, "p1", (1, 1)), ends_turn=False)
    mesh.tell("a", Tracked(Space.presence, ROOM, "p2", (2, 1), {"again": True}))
    mesh.flow()
    for pod in mesh.pods.values():
        [diff] = pod.diffs
        assert diff.joins == pod.tracker.roster.presences(ROOM) and not diff.leaves
        assert set(diff.joins) == {"p0", "p2"} and "phx_ref_prev" not in diff.joins["p2"]["metas"][0]


def test_more_than_fits_into_one_message_arrives_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "ITEMS_AT_ONCE", 10)
    mesh = Mesh("a", "b")
    for number in range(35):
        mesh.tell("a", Tracked(Space.presence, ROOM, f"p{number}", (number, 1), {}), ends_turn=number == 34)
    mesh.flow()
    mesh.start("c")
    mesh.flow()
    views: list[Presences] = [pod.tracker.roster.presences(ROOM) for pod in mesh.pods.values()]
    assert len(views[0]) == 35 and views[0] == views[1] == views[2]
    assert mesh.pods["a"].tracker.version == 4


def test_a_crowd_is_told_of_in_bunches_and_the_first_at_once() -> None:
    mesh = Mesh("a", diff_every=0.1)
    for number in range(20):
        mesh.track("a", f"p{number}", by=number)
        mesh.run(TICK)
    mesh.run(0.1)
    diffs = mesh.pods["a"].diffs
    assert set(diffs[0].joins) == {"p0"} and len(diffs) == 5
    assert mesh.pods["a"].keys() == {f"p{number}" for number in range(20)}
    mesh.run(0.2)
    mesh.track("a", "late", by=30)
    assert set(diffs[-1].joins) == {"late"}, "after a quiet time it waits for nothing"


def test_who_comes_is_told_in_full_and_nobody_else() -> None:
    mesh = Mesh("a")
    mesh.track("a", "ann")
    mesh.tell("a", PresenceWatched(ROOM))
    assert mesh.pods["a"].diffs[-1] == PresenceChanged(ROOM, {}, {})


def test_nothing_is_said_where_nothing_was_ever_tracked() -> None:
    mesh = Mesh("a", "b")
    mesh.run(1.0)
    mesh.say_hello()
    assert not mesh.wire and mesh.pods["a"].tracker.version == 0


def test_who_leaves_on_purpose_leaves_at_once_and_who_lost_the_socket_after_the_grace() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann", by=1)
    mesh.track("a", "bob", by=2)
    mesh.tell("a", TrackerEnded((1, 1), wanted=True))
    mesh.lose_socket("a", by=2)
    mesh.flow()
    assert mesh.pods["b"].keys() == {"bob"}
    mesh.run(GRACE - 2 * TICK)
    mesh.flow()
    assert mesh.pods["b"].keys() == {"bob"}
    mesh.run(4 * TICK)
    mesh.flow()
    assert mesh.pods["b"].keys() == set()


@pytest.mark.parametrize("back_at", ["a", "b", "c"])
def test_a_player_who_is_back_within_the_grace_never_left(back_at: str) -> None:
    mesh = Mesh("a", "b", "c")
    mesh.track("a", "ann", at="a")
    mesh.flow()
    mesh.lose_socket("a")
    mesh.flow()
    mesh.run(0.3)
    mesh.track(back_at, "ann", by=2, at=back_at, again=True)
    mesh.flow()
    mesh.run(1.0)
    mesh.flow()
    for pod in mesh.pods.values():
        first, *rest = pod.diffs
        assert set(first.joins) == {"ann"}
        assert [(set(diff.joins), set(diff.leaves)) for diff in rest if diff.joins or diff.leaves] == [
            ({"ann"}, {"ann"})
        ]
        [meta] = pod.seen[ROOM]["ann"]
        assert meta["at"] == back_at and meta["again"]


def test_who_is_back_and_leaves_on_purpose_is_gone_though_the_grace_is_not_over() -> None:
    mesh = Mesh("a", "b", "c")
    mesh.track("a", "ann")
    mesh.flow()
    mesh.kill("a")
    mesh.track("b", "ann")
    mesh.flow()
    mesh.tell("b", TrackerEnded((1, 1), wanted=True))
    mesh.flow()
    assert [pod.keys() for pod in mesh.pods.values()] == [set(), set()]
    mesh.run(1.0)
    assert [pod.keys() for pod in mesh.pods.values()] == [set(), set()]


def test_players_of_a_dead_pod_leave_together_but_for_who_is_back() -> None:
    mesh = Mesh("a", "b", "c")
    for number in range(5):
        mesh.track("a", f"p{number}", by=number)
    mesh.flow()
    mesh.kill("a")
    mesh.run(0.3)
    mesh.track("b", "p3", back=True)
    mesh.flow()
    watcher = mesh.pods["c"]
    assert watcher.keys() == {f"p{number}" for number in range(5)}
    count = len(watcher.diffs)
    mesh.run(GRACE)
    mesh.flow()
    [last] = [diff for diff in watcher.diffs[count:] if diff.leaves]
    assert set(last.leaves) == {"p0", "p1", "p2", "p4"} and not last.joins
    assert watcher.keys() == {"p3"}


def test_a_new_life_of_a_pod_shortens_no_players_grace_and_starts_with_nobody() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann")
    mesh.flow()
    mesh.kill("a")
    mesh.run(0.2)
    mesh.start("a")
    mesh.flow()
    assert mesh.pods["b"].keys() == {"ann"}
    mesh.track("a", "ann", back=True)
    mesh.flow()
    mesh.run(1.0)
    [changed] = [diff for diff in mesh.pods["b"].diffs if diff.leaves]
    assert set(changed.joins) == set(changed.leaves) == {"ann"}
    assert mesh.pods["a"].keys() == {"ann"}


def test_a_link_that_is_back_within_the_grace_changes_nothing() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann")
    mesh.track("b", "ann", by=7)  # in two tabs
    mesh.flow()
    seen, count = mesh.pods["b"].seen, len(mesh.pods["b"].diffs)
    mesh.cut(mesh.pods["a"], mesh.pods["b"])
    mesh.run(0.4)
    mesh.link(mesh.pods["a"], mesh.pods["b"])
    mesh.flow()
    mesh.run(1.0)
    assert len(mesh.pods["b"].diffs) == count and mesh.pods["b"].seen == seen


def test_after_a_partition_both_sides_see_everybody_again() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann")
    mesh.track("b", "bob", by=2)
    mesh.flow()
    mesh.cut(mesh.pods["a"], mesh.pods["b"])
    mesh.run(2.0)
    assert (mesh.pods["a"].keys(), mesh.pods["b"].keys()) == ({"ann"}, {"bob"})
    mesh.track("a", "eve", by=3)
    mesh.settle()
    assert mesh.pods["a"].keys() == mesh.pods["b"].keys() == {"ann", "bob", "eve"}


def test_who_is_gone_and_back_between_two_diffs_is_in_neither() -> None:
    mesh = Mesh("a", "b", diff_every=0.1)
    mesh.track("a", "ann", by=1)
    mesh.flow()
    mesh.run(0.48, silent=["a"])
    mesh.track("b", "bob", by=2)
    mesh.run(3 * TICK, silent=["a"])
    assert set(mesh.pods["b"].tracker.roster.presences(ROOM)) == {"bob"}
    mesh.flow()
    mesh.run(0.2)
    assert [set(diff.joins) for diff in mesh.pods["b"].diffs if diff.joins] == [{"ann"}, {"bob"}]
    assert mesh.pods["b"].keys() == {"ann", "bob"} and not any(diff.leaves for diff in mesh.pods["b"].diffs)


def test_a_pod_that_stands_still_is_gone_until_it_is_heard_again() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann")
    mesh.flow()
    mesh.run(0.4, silent=["a"])
    assert mesh.pods["b"].keys() == {"ann"}
    mesh.run(0.2, silent=["a"])
    assert mesh.pods["b"].keys() == set()
    mesh.flow()
    assert mesh.pods["b"].keys() == {"ann"}


def test_who_stood_still_itself_sends_nobody_away() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann", by=1)
    mesh.track("b", "bob", by=2)
    mesh.flow()
    mesh.cut(mesh.pods["a"], mesh.pods["b"])
    mesh.lose_socket("b", by=2)
    mesh.now += 2.0
    mesh.pods["b"].tracker.ticked(mesh.now, 10.0, lambda *_: None)
    mesh.end_turn(mesh.pods["b"])
    assert mesh.pods["b"].keys() == {"ann", "bob"}
    mesh.run(GRACE + TICK)
    assert mesh.pods["b"].keys() == set()


def test_members_of_groups_are_gone_at_once_with_their_join_their_pod_and_their_link() -> None:
    mesh = Mesh("a", "b")
    mesh.tell("a", Tracked(Space.group, GUARDS, "", (0, 0), {}))
    for by, member in enumerate(("ann", "bob", "eve"), 1):
        mesh.tell("a", Tracked(Space.group, GUARDS, member, (by, 1), {}))
    mesh.tell("b", Tracked(Space.group, GUARDS, "ann", (1, 1), {}))
    mesh.flow()
    everybody = [("a", "ann"), ("a", "bob"), ("a", "eve"), ("b", "ann")]
    assert [pod.tracker.roster.groups() for pod in mesh.pods.values()] == [{GUARDS: everybody}] * 2
    mesh.tell("a", TrackerEnded((1, 1), wanted=False))
    mesh.tell("a", Untracked(Space.group, GUARDS, "bob", (2, 1)))
    mesh.flow()
    watcher = mesh.pods["b"].tracker.roster
    assert watcher.groups() == {GUARDS: [("a", "eve"), ("b", "ann")]}
    mesh.cut(mesh.pods["a"], mesh.pods["b"])
    assert watcher.groups() == {GUARDS: [("b", "ann")]}
    mesh.link(mesh.pods["a"], mesh.pods["b"])
    mesh.flow()
    assert watcher.groups() == {GUARDS: [("a", "eve"), ("b", "ann")]}
    mesh.kill("a")
    assert watcher.groups() == {GUARDS: [("b", "ann")]}
    assert not mesh.pods["b"].diffs


def test_a_group_that_was_created_is_there_without_members() -> None:
    mesh = Mesh("a", "b")
    mesh.tell("a", Tracked(Space.group, GUARDS, "", (0, 0), {}))
    mesh.flow()
    assert mesh.pods["b"].tracker.roster.groups() == {GUARDS: []}
    mesh.kill("a")
    assert mesh.pods["b"].tracker.roster.groups() == {}


def test_a_lost_message_is_made_up_for_by_the_next_hello() -> None:
    mesh = Mesh("a", "b")
    mesh.track("a", "ann", by=1)
    mesh.track("a", "bob", by=2)
    mesh.deliver()
    mesh.wire.clear()
    mesh.tell("a", TrackerEnded((1, 1), wanted=True))
    mesh.wire.clear()
    assert mesh.pods["b"].keys() == {"ann"}
    mesh.flow()
    assert mesh.pods["b"].keys() == {"bob"}


def test_messages_lost_in_between_or_late_or_doubled_change_nothing() -> None:
    mesh = Mesh("a", "b")
    for number in range(5):
        mesh.track("a", f"p{number}", by=number)
    first, second, third, fourth, fifth = mesh.wire
    mesh.wire = [second, first, first, fourth, second, third, first, fifth]
    while mesh.wire:
        mesh.deliver()
    mesh.now += core.ASK_AGAIN_SECONDS
    mesh.flow()
    assert mesh.pods["b"].keys() == {f"p{number}" for number in range(5)}
    assert mesh.pods["b"].tracker.roster.presences(ROOM) == mesh.pods["a"].tracker.roster.presences(ROOM)


STEPS = (
    *("track", "track", "untrack", "end"),
    *("deliver", "deliver", "any", "any", "twice", "lose", "hello"),
    *("cut", "link", "kill", "wait"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2**16)), min_size=10, max_size=100),
    st.sampled_from((0.0, 0.1)),
)
def test_pods_that_hear_each_other_agree_whatever_came_before(steps: list[tuple[str, int]], diff_every: float) -> None:
    mesh = Mesh("a", "b", "c", diff_every=diff_every)
    for step, number in steps:
        play(mesh, step, random.Random(number))
        for pod in mesh.pods.values():
            if not diff_every:
                check_what_clients_saw(pod)
    mesh.settle()
    check_all_agree(mesh)


def play(mesh: Mesh, step: str, pick: random.Random) -> None:
    name, other = pick.sample(sorted(mesh.pods), 2)
    by, key = pick.randrange(3), f"p{pick.randrange(3)}"
    space, topic = pick.choice([(Space.presence, ROOM), (Space.presence, "room:2"), (Space.group, GUARDS)])
    in_turn = pick.random() < 0.7
    match step:
        case "track":
            mesh.tell(name, Tracked(space, topic, key, (by, 1), {"n": pick.randrange(2)}), in_turn)
        case "untrack":
            mesh.tell(name, Untracked(space, topic, key, (by, 1)), in_turn)
        case "end":
            mesh.tell(name, TrackerEnded((by, 1), pick.random() < 0.4), in_turn)
        case "cut":
            mesh.cut(mesh.pods[name], mesh.pods[other])
        case "link":
            mesh.link(mesh.pods[name], mesh.pods[other])
        case "kill":
            mesh.kill(name)
            mesh.start(name)
        case "wait":
            mesh.run(pick.choice((0.02, 0.1, 0.6)), silent=pick.choice(((), (), (name,))))
        case "hello":
            mesh.say_hello()
        case _ if mesh.wire:
            index = 0 if step == "deliver" else pick.randrange(len(mesh.wire))
            if step == "lose":
                mesh.wire.pop(index)
            else:
                mesh.deliver(index, keep=step == "twice")


def check_what_clients_saw(pod: Pod) -> None:
    """State and diffs say the same, whenever a turn has ended."""
    mesh_state = {topic: pod.tracker.roster.presences(topic) for topic in (ROOM, "room:2")}
    if pod.tracker.has_news:
        return
    for topic, shown in mesh_state.items():
        seen = {key: sorted(m["phx_ref"] for m in metas) for key, metas in pod.seen.get(topic, {}).items()}
        assert seen == {key: sorted(m["phx_ref"] for m in found["metas"]) for key, found in shown.items()}


def check_all_agree(mesh: Mesh) -> None:
    first, *others = mesh.pods.values()
    for topic in (ROOM, "room:2"):
        views = [pod.tracker.roster.presences(topic) for pod in (first, *others)]
        assert all(view == views[0] for view in views), views
    assert all(pod.tracker.roster.groups() == first.tracker.roster.groups() for pod in others)
    for pod in (first, *others):
        check_what_clients_saw(pod)
    everybody = shown_at(first)
    assert everybody == {found for pod in mesh.pods.values() for found in own(pod)}


def own(pod: Pod) -> set[str]:
    """What is left when nobody else is there."""
    for peer in list(pod.heard):
        pod.tracker.link_down(peer, 0.0)
    pod.tracker.ticked(1e9, 0.0, lambda *_: None)
    return shown_at(pod)


def shown_at(pod: Pod) -> set[str]:
    views = (pod.tracker.roster.presences(topic) for topic in (ROOM, "room:2"))
    members = {f"{group}/{member}" for group, found in pod.tracker.roster.groups().items() for member in found}
    return members | {meta["phx_ref"] for view in views for found in view.values() for meta in found["metas"]}
