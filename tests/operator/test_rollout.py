from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster_operator.observed import Observed, ObservedPod, ObservedSet, Telling
from gamecluster_operator.observed import pod as parse_pod
from gamecluster_operator.record import Incarnation, Record
from gamecluster_operator.rollout import (
    HAND_OVER_SECONDS,
    RESTARTED_SECONDS,
    SETTLE_SECONDS,
    STUCK_SECONDS,
    Delete,
    HandOver,
    Progress,
    Step,
    Stuck,
    Wait,
    of_new_pods,
    plan,
)

from .world import World

CALM = 1000.0


def pod(ordinal: int, revision: str = "old", **facts: Any) -> ObservedPod:
    known = {"running": True, "ready": True, "revision": revision, "copies": 3}
    return ObservedPod(f"arena-{ordinal}", f"pod{ordinal}", **{**known, **facts})


def who(ordinal: int) -> Incarnation:
    return Incarnation(f"arena-{ordinal}_pod{ordinal}_1")


def seen(
    *pods: ObservedPod, leader: int | None = 0, in_sync: tuple[int, ...] | None = None, wanted: int = 3
) -> Observed:
    members = tuple(who(p.ordinal) for p in pods) if in_sync is None else tuple(map(who, in_sync))
    holder = who(leader) if leader is not None else None
    return Observed(ObservedSet(wanted, len(pods), 0, True, "new"), Record(1, holder, 3, members), pods)


def step(observed: Observed, about: str = "", seconds: float = 0.0, same: float = CALM, copies: int = 3) -> Step:
    progress = plan(observed, copies, False, (about, seconds), same)
    assert progress is not None
    return progress.step


def deleted(made: Step) -> str:
    assert isinstance(made, Delete), made
    return made.pod.name


NEW = "new"
STARTING = {"running": False, "ready": False}


def test_pods_of_the_newest_revision_are_left_alone() -> None:
    assert plan(seen(pod(0, NEW), pod(1, NEW), pod(2, NEW)), 3, False, ("", 0), CALM) is None


def test_until_the_controller_has_seen_the_template_nothing_is_done() -> None:
    waiting = replace(seen(pod(0), pod(1), pod(2)), stateful_set=ObservedSet(3, 3, 3, False))
    assert plan(waiting, 3, False, ("", 0), CALM) is None


def test_replicas_go_first_the_highest_before_the_others() -> None:
    assert deleted(step(seen(pod(0), pod(1), pod(2)))) == "arena-2"
    assert deleted(step(seen(pod(0), pod(1), pod(2), leader=2))) == "arena-1"


def test_a_pod_that_holds_no_copy_goes_before_those_that_do() -> None:
    five = seen(*(pod(i) for i in range(5)), in_sync=(0, 3, 4), wanted=5)
    assert deleted(step(five)) == "arena-2"


def test_the_next_waits_until_the_last_is_back_ready_and_in_sync() -> None:
    assert isinstance(step(seen(pod(0), pod(1))), Wait)
    assert isinstance(step(seen(pod(0), pod(1), pod(2, deleting=True))), Wait)
    assert isinstance(step(seen(pod(0), pod(1), pod(2, NEW, **STARTING), in_sync=(0, 1))), Wait)
    assert isinstance(step(seen(pod(0), pod(1), pod(2, NEW), in_sync=(0, 1))), Wait)
    assert deleted(step(seen(pod(0), pod(1), pod(2, NEW)))) == "arena-1"


def test_a_new_pod_must_stay_ready_for_a_while_and_longer_if_it_has_ended_before() -> None:
    fresh = seen(pod(0), pod(1), pod(2, NEW))
    assert isinstance(step(fresh, same=SETTLE_SECONDS - 1), Wait)
    assert deleted(step(fresh, same=SETTLE_SECONDS)) == "arena-1"
    restarted = seen(pod(0), pod(1), pod(2, NEW, restarts=1))
    assert isinstance(step(restarted, same=RESTARTED_SECONDS - 1), Wait)


def test_the_leader_hands_over_to_a_new_pod_and_goes_last() -> None:
    last = seen(pod(0), pod(1, NEW), pod(2, NEW))
    assert step(last) == HandOver(last.pods[0], "arena-1")
    handed = seen(pod(0), pod(1, NEW), pod(2, NEW), leader=1)
    assert deleted(step(handed)) == "arena-0"


def test_the_leader_hands_over_only_to_one_that_has_every_move() -> None:
    five = seen(pod(0), *(pod(i, NEW) for i in range(1, 5)), in_sync=(0, 3, 4), wanted=5)
    made = step(five)
    assert isinstance(made, HandOver) and made.to == "arena-3"


def test_a_leader_that_does_not_hand_over_when_asked_does_so_as_it_ends() -> None:
    last = seen(pod(0), pod(1, NEW), pod(2, NEW))
    assert isinstance(step(last, "pod0", HAND_OVER_SECONDS - 1), HandOver)
    assert deleted(step(last, "pod0", HAND_OVER_SECONDS)) == "arena-0"


def test_who_can_have_no_copy_beside_him_goes_without_being_asked() -> None:
    assert deleted(step(seen(pod(0), wanted=1))) == "arena-0"
    alone = seen(pod(0, copies=1), pod(1, NEW), pod(2, NEW), in_sync=(0,))
    assert deleted(step(alone)) == "arena-0"


def test_a_leader_of_fewer_copies_than_the_new_spec_wants_is_not_waited_for_in_vain() -> None:
    assert deleted(step(seen(*(pod(i) for i in range(5)), in_sync=(0, 1, 2), wanted=5), copies=5)) == "arena-4"


def test_a_new_pod_that_cannot_start_stops_it() -> None:
    for trouble, word in (("ImagePullBackOff",) * 2, ("ErrImagePull", "ImagePullBackOff"), ("CrashLoopBackOff",) * 2):
        made = step(seen(pod(0), pod(1), pod(2, NEW, waiting=trouble, **STARTING), in_sync=(0, 1)))
        assert isinstance(made, Stuck)
        assert (made.pod.name, made.trouble) == ("arena-2", word)
        assert word in made.reason and "kubectl describe pod arena-2" in made.reason


def test_a_container_that_keeps_ending_is_called_the_same_while_it_runs_for_a_moment() -> None:
    looping = pod(2, NEW, restarts=2, ready=False)
    waiting = replace(looping, running=False, waiting="CrashLoopBackOff")
    assert (
        step(seen(pod(0), pod(1), looping, in_sync=(0, 1))).reason
        == step(seen(pod(0), pod(1), waiting, in_sync=(0, 1))).reason
    )


def test_a_new_pod_that_is_not_ready_for_long_stops_it_too() -> None:
    slow = seen(pod(0), pod(1), pod(2, NEW, ready=False), in_sync=(0, 1))
    assert isinstance(step(slow, "pod2", STUCK_SECONDS - 1), Wait)
    assert isinstance(step(slow, "pod2", STUCK_SECONDS), Stuck)


def test_no_old_pod_is_given_a_broken_image_though_it_crashes() -> None:
    crashed = pod(1, running=False, ready=False, restarts=7)
    made = step(seen(pod(0), crashed, pod(2, NEW, waiting="ImagePullBackOff", **STARTING), in_sync=(0,)))
    assert isinstance(made, Stuck)


def test_pods_of_a_broken_revision_are_the_first_to_be_replaced() -> None:
    broken = pod(1, "broken", waiting="ImagePullBackOff", **STARTING)
    assert deleted(step(seen(pod(0), broken, pod(2), in_sync=(0, 2)))) == "arena-1"
    hanging = pod(1, "broken", ready=False)
    assert deleted(step(seen(pod(0), hanging, pod(2), in_sync=(0, 2)))) == "arena-1"


def test_a_game_that_never_started_is_replaced_though_nobody_leads() -> None:
    never = [pod(i, waiting="ImagePullBackOff", **STARTING) for i in range(3)]
    assert deleted(step(seen(*never, leader=None, in_sync=()))) == "arena-2"
    unconfigured = [pod(i, ready=False) for i in range(3)]
    assert deleted(step(seen(*unconfigured, leader=None, in_sync=()))) == "arena-2"


def test_while_nobody_leads_no_pod_goes_that_may_hold_the_game() -> None:
    made = step(seen(pod(0), pod(1, ready=False), pod(2), leader=None))
    assert isinstance(made, Wait) and "leads" in made.reason
    denying = Telling(who(0), leader="arena-1")
    assert isinstance(step(seen(pod(0, told=denying), pod(1), pod(2))), Wait)


def test_a_leaderless_game_whose_pods_keep_ending_can_be_mended() -> None:
    looping = [pod(i, waiting="CrashLoopBackOff", restarts=4, **STARTING) for i in range(3)]
    assert deleted(step(seen(*looping))) == "arena-2"
    assert deleted(step(seen(looping[0], looping[1], pod(2, NEW, **STARTING), in_sync=(0, 1, 2)))) == "arena-1"


def test_a_copy_whose_pod_is_not_ready_is_replaced_once_the_others_have_all() -> None:
    leaving = pod(1, ready=False)
    assert deleted(step(seen(pod(0), leaving, pod(2)))) == "arena-1"
    assert isinstance(step(seen(pod(0), leaving, pod(2), in_sync=(0, 1))), Wait)


def test_the_last_one_is_waited_for() -> None:
    ending = seen(pod(0, NEW, ready=False), pod(1, NEW), pod(2, NEW), leader=1)
    assert plan(ending, 3, False, ("", 0), CALM) is None, "pods that start are no rollout"
    made = plan(ending, 3, True, ("", 0), CALM)
    assert made is not None and made.text == "3 of 3 pods are of the new revision; waiting until arena-0 is ready"


def test_what_a_pod_object_says_is_read() -> None:
    broken = {"name": "init", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    waiting = {"name": "server", "state": {"waiting": {"reason": "PodInitializing"}}}
    meta = {"name": "arena-1", "uid": "u", "labels": {"controller-revision-hash": "arena-5f"}}
    meta["annotations"] = {"gamecluster.dev/copies": "2"}
    status = {"initContainerStatuses": [broken], "containerStatuses": [waiting]}
    read = parse_pod({"metadata": meta, "status": status})
    assert (read.revision, read.copies, read.waiting, read.running) == ("arena-5f", 2, "ImagePullBackOff", False)
    bare = parse_pod({"metadata": {"name": "arena-1", "uid": "u"}, "status": {"containerStatuses": [waiting]}})
    assert (bare.revision, bare.copies, bare.waiting) == ("", None, "")


# --- any order of events --------------------------------------------------------------------------------------------


@dataclass
class Life:
    revision: str
    uid: str
    phase: str = "starting"  # starting, ready, crashed, ending
    restarts: int = 0


@dataclass
class Cluster:
    """Pods, their controller and their GameState, roughly. Revisions of which the name ends in "!" never start."""

    size: int
    copies: int
    revision: str = "r0"
    pods: dict[int, Life] = field(default_factory=dict)
    leader: int | None = 0
    in_sync: list[int] = field(default_factory=list)
    now: float = 0.0
    about: tuple[str, float] = ("", 0.0)
    same: tuple[object, float] = (None, 0.0)
    rolling: bool = False
    changes: int = 0
    made: int = 0

    def __post_init__(self) -> None:
        self.target = min(self.copies, self.size)
        for ordinal in range(self.size):
            self._new_pod(ordinal)
            self.pods[ordinal].phase = "ready"
        self.in_sync = list(range(self.target))

    def _new_pod(self, ordinal: int) -> None:
        self.made += 1
        self.pods[ordinal] = Life(self.revision, f"uid{self.made}")

    def _who(self, ordinal: int) -> Incarnation:
        return Incarnation(f"arena-{ordinal}_{self.pods[ordinal].uid}_1")

    def observed(self) -> Observed:
        found = [
            ObservedPod(
                f"arena-{ordinal}",
                life.uid,
                running=life.phase in ("ready", "ending")
                or (life.phase == "starting" and not life.revision.endswith("!")),
                ready=life.phase == "ready",
                deleting=life.phase == "ending",
                restarts=life.restarts,
                revision=life.revision,
                waiting="ImagePullBackOff" if life.phase == "starting" and life.revision.endswith("!") else "",
            )
            for ordinal, life in sorted(self.pods.items())
        ]
        holder = self._who(self.leader) if self.leader is not None else None
        record = Record(1, holder, 1, tuple(self._who(i) for i in self.in_sync))
        return Observed(ObservedSet(self.size, len(found), 0, True, self.revision), record, tuple(found))

    def look(self) -> Progress | None:
        seen = self.observed()
        if of_new_pods(seen) != self.same[0]:
            self.same = (of_new_pods(seen), self.now)
        waited = (self.about[0], self.now - self.about[1])
        made = plan(seen, self.copies, self.rolling, waited, self.now - self.same[1])
        about = made.step.about if made else ""
        if about != self.about[0]:
            self.about = (about, self.now)
        self.rolling = made is not None
        if made is not None:
            self._act(made.step, waited, seen)
        return made

    def _act(self, step: Step, waited: tuple[str, float], seen: Observed) -> None:
        if isinstance(step, HandOver):
            to = int(step.to[-1])
            assert to in self.in_sync and self.pods[to].revision == self.revision
            self.leader, self.changes = to, self.changes + 1
        elif isinstance(step, Delete):
            self._check(step.pod, waited, seen)
            self._end(step.pod.ordinal)

    def _check(self, gone: ObservedPod, waited: tuple[str, float], seen: Observed) -> None:
        assert len(self.pods) == self.size and not any(p.deleting for p in seen.pods), "two at once"
        assert gone.revision != self.revision, "a new one"
        copies = {i for i in self.in_sync if self.pods[i].phase == "ready"}
        if gone.ordinal in copies:
            assert len(copies) - 1 >= self.target - 1, "fewer copies than there must be"
        if gone.ready:
            others = [p for p in seen.pods if p != gone]
            assert all(p.ready for p in others if p.ordinal != self.leader)
        if gone.ordinal == self.leader:
            assert all(p.revision == self.revision for p in seen.pods if p != gone), "the leader is the last"
            assert self.target == 1 or waited[1] >= HAND_OVER_SECONDS, "it was not asked to hand over"

    def _end(self, ordinal: int) -> None:
        self.pods[ordinal].phase = "ending"
        self._out(ordinal)

    def _out(self, ordinal: int) -> None:
        """Its process is gone, or about to: others lead, if there are any."""
        was_leader = self.leader == ordinal
        alive = [i for i in self.in_sync if i != ordinal and self.pods[i].phase == "ready"]
        if was_leader:
            self.leader = alive[0] if alive else None
            self.changes += 1
        if self.leader is not None or was_leader:
            self.in_sync = alive  # all lost: the operator's backstop begins anew

    def crash(self, ordinal: int) -> None:
        if ordinal in self.pods and self.pods[ordinal].phase == "ready":
            self.pods[ordinal].phase = "crashed"
            self._out(ordinal)

    def advance(self, ordinal: int) -> None:
        """One pod gets one step on; its controller makes one that is missing."""
        if ordinal not in self.pods:
            self._new_pod(ordinal)
            return
        life = self.pods[ordinal]
        if life.phase == "ending":
            del self.pods[ordinal]
        elif life.phase == "crashed":
            life.phase, life.restarts = "starting", life.restarts + 1
        elif life.phase == "starting" and not life.revision.endswith("!"):
            if self.leader is None and not self.in_sync:
                self.leader, self.in_sync = ordinal, [ordinal]
                life.phase = "ready"
            elif self.leader is not None:
                life.phase = "ready"

    def advance_all(self) -> None:
        for ordinal in range(self.size):
            self.advance(ordinal)

    def sync(self) -> None:
        """The leader takes in who has caught up."""
        if self.leader is not None:
            ready = [i for i, life in self.pods.items() if life.phase == "ready" and i not in self.in_sync]
            self.in_sync = [*self.in_sync, *ready][: self.target]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["look", "look", "look", "all", "all", "all", "one", "sync", "crash", "good", "bad", "time"]),
        st.integers(0, 4),
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), EVENTS)
def test_whatever_happens_one_goes_at_a_time_the_leader_last_and_it_ends_well(
    size: int, copies: int, events: list[tuple[str, int]]
) -> None:
    cluster = Cluster(size, copies)
    for number, (event, ordinal) in enumerate(events):
        match event:
            case "look":
                cluster.look()
            case "one":
                cluster.advance(ordinal % size)
            case "all":
                cluster.advance_all()
            case "sync":
                cluster.sync()
            case "crash":
                cluster.crash(ordinal % size)
            case "good" | "bad":
                cluster.revision = f"r{number + 1}{'!' if event == 'bad' else ''}"
            case _:
                cluster.now += 7 * ordinal
    cluster.revision, cluster.changes = "last", 0
    was_lost = cluster.leader is None
    for _ in range(600):
        cluster.now += 2
        cluster.advance_all()
        cluster.sync()
        cluster.look()
    assert {life.revision for life in cluster.pods.values()} == {"last"}
    assert all(life.phase == "ready" for life in cluster.pods.values())
    assert was_lost or cluster.changes <= 1, "one change of leader at most"


# --- whole reconciliations ------------------------------------------------------------------------------------------


async def replaced(world: World, ordinal: int, leader: int, epoch: int) -> None:
    """The pod that the operator has deleted comes back, ready, and in sync."""
    name = f"arena-{ordinal}"
    assert name not in world.kube.names("Pod"), world.message("Reconciling")
    assert len(world.kube.names("Pod")) == 2
    await world.look(2)
    assert world.condition("Reconciling") == ("True", "Updating")
    world.run_pod(ordinal, f"{name}-{world.revision}")
    world.hold(leader, epoch, 0, 1, 2)
    await world.look(2)
    await world.look(SETTLE_SECONDS)


async def test_a_changed_template_replaces_all_pods_with_one_change_of_leader() -> None:
    world = World()
    await world.play()
    world.new_revision("second")
    await world.look(2)
    assert world.message("Reconciling") == "0 of 3 pods are of the new revision; next: arena-2"
    await replaced(world, 2, 0, 1)
    await replaced(world, 1, 0, 1)
    assert world.kube.names("Pod") == {"arena-0", "arena-1", "arena-2"}
    assert world.pods.handed_off == [("arena-0", "arena-1")]
    world.hold(1, 2, 1, 0, 2)
    await world.look(2)
    await replaced(world, 0, 1, 2)
    assert world.condition("Reconciling") == ("False", "Settled")
    assert world.pods.handed_off == [("arena-0", "arena-1")]
    assert [event for event in world.events if "Rollout" in event] == ["RolloutStarted", "RolloutFinished"]
    await world.settle()


async def test_a_game_of_one_pod_gets_a_second_one_to_hand_over_to() -> None:
    world = World(replicas=1)
    await world.play(1)
    world.edit(image="game:2")
    await world.look(2)
    world.new_revision("second")
    await world.look(2)
    await world.look()
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 2, "its controller has not seen that yet"
    world.run_pod(1, "arena-1-second")
    world.hold(0, 1, 0, 1)
    await world.look(2)
    await world.look(SETTLE_SECONDS)
    assert world.pods.handed_off == [("arena-0", "arena-1")]
    world.hold(1, 2, 1, 0)
    await world.look(2)
    assert world.kube.names("Pod") == {"arena-1"}
    world._count()
    await world.look(60)
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 2, "the first one is not back"
    world.run_pod(0, "arena-0-second")
    world.hold(1, 2, 1, 0)
    await world.look(2)
    await world.look(2)
    assert world.pods.handed_off[1:] == [("arena-1", "arena-0")]
    world.hold(0, 3, 0, 1)
    await world.look(2)
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 1
    world.remove_pod(1)
    world.hold(0, 3, 0)
    await world.settle()
    assert world.condition("Reconciling") == ("False", "Settled")


async def test_the_only_pod_plays_on_while_a_broken_version_is_tried_on_a_second_one() -> None:
    world = World(replicas=1)
    await world.play(1)
    world.new_revision("broken")
    await world.look(2)
    world._count()
    world.starting_pod(1, "arena-1-broken", "ImagePullBackOff")
    await world.settle()
    assert world.condition("Reconciling") == ("True", "RolloutStuck")
    assert world.kube.names("Pod") == {"arena-0", "arena-1"}
    world.new_revision("first")
    await world.settle()
    assert world.kube.names("Pod") == {"arena-0"}, "the broken one"


async def test_a_broken_image_stops_it_and_the_next_one_goes_on() -> None:
    world = World()
    await world.play()
    world.new_revision("broken")
    await world.look(2)
    world.starting_pod(2, "broken2", "ErrImagePull")
    world.hold(0, 1, 0, 1)
    await world.settle()
    assert world.condition("Reconciling") == ("True", "RolloutStuck")
    assert world.condition("Ready") == ("True", "Serving")
    assert "arena-2 does not become ready (ImagePullBackOff)" in world.message("Reconciling")
    for waiting in ("ImagePullBackOff", "ErrImagePull") * 5:
        world.starting_pod(2, "broken2", waiting)
        world.kube.writes.clear()
        await world.look(30)
        assert world.kube.writes == [], "nothing new is to be said"
    world.new_revision("mended")
    await world.look(2)
    assert world.kube.names("Pod") == {"arena-0", "arena-1"}
    await replaced(world, 2, 0, 1)
    await replaced(world, 1, 0, 1)
    assert world.events.count("RolloutStuck") == 1


async def test_nothing_is_deleted_on_the_word_of_a_watch_that_lags() -> None:
    world = World()
    await world.play()
    world.new_revision("second")
    world.kube.remove("Pod", "arena-1")
    world.store.put(world.kube.put({**world.kube.one("StatefulSet", "arena")}))
    await world.reconciler.reconcile(("games", "arena"))
    assert world.kube.names("Pod") == {"arena-0", "arena-2"}


async def test_a_pod_on_a_lost_node_does_not_hold_it_up_for_good() -> None:
    world = World()
    await world.play()
    world.new_revision("second")
    lost = world.kube.one("Pod", "arena-1")
    ending = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    status = {**lost["status"], "conditions": []}
    world.silence(1)
    world.kube.put({**lost, "metadata": {**lost["metadata"], **ending}, "status": status})
    world.hold(0, 1, 0, 2)
    await world.look(2)
    assert world.kube.names("Pod") == {"arena-0", "arena-1", "arena-2"}, "one at a time"
    await world.look(40)
    assert world.kube.names("Pod") == {"arena-0", "arena-2"}, "the operator has freed it"
    await replaced(world, 1, 0, 1)
    assert world.kube.names("Pod") == {"arena-0", "arena-1"}, "and goes on with the next"


async def test_a_paused_cluster_keeps_its_pods() -> None:
    world = World()
    await world.play()
    world.edit(paused=True)
    world.new_revision("second")
    await world.look(2)
    assert world.kube.names("Pod") == {"arena-0", "arena-1", "arena-2"}
