"""``spec.replicas: 0``: the game sleeps in its storage, and wakes with everything."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from gamecluster_operator import labels as names
from gamecluster_operator import restore, spec
from gamecluster_operator.lease import LastKnown, NewLease, new_lease
from gamecluster_operator.observed import ObservedPod, Position, Telling
from gamecluster_operator.record import Asleep, Incarnation, Record
from gamecluster_operator.scaling import Plan, plan

from .world import World, game_cluster

VOLUME = {"type": "Volume"}
REDIS = {"type": "Redis", "secretRef": {"name": "redis"}}
END: Position = (4, 123)


class Sleeper(World):
    def __init__(self, storage: dict[str, Any] | None = None, **spec: Any) -> None:
        super().__init__(storage=storage or VOLUME, **spec)

    async def play_on(self) -> None:
        await self.play()
        self.storage_is("Ready")

    def storage_is(self, state: str) -> None:
        for uid, told in list(self.pods.tells.items()):
            if told is not None:
                self.pods.tells[uid] = replace(told, storage=state, stored=END, knows_stored=True)

    def scale(self, replicas: int) -> None:
        self.edit(replicas=replicas)
        body = copy.deepcopy(self.kube.one("GameCluster", "arena"))
        body["metadata"]["generation"] += 1
        self.kube.put(body)

    @property
    def replicas(self) -> int:
        return int(self.kube.one("StatefulSet", "arena")["spec"]["replicas"])

    async def go_to_sleep(self) -> None:
        self.scale(0)
        await self.look()
        self.remove_pod(2)
        self.remove_pod(1)
        self.hold(0, 4, 0)
        self.storage_is("Ready")
        await self.look(2)
        assert self.replicas == 0
        self.leave_word()
        await self.look(1)
        self.remove_pod(0)
        await self.look(1)

    def leave_word(self) -> None:
        """The last pod, on its way out."""
        lease = copy.deepcopy(self.kube.one("Lease", "arena-gamestate"))
        lease["metadata"]["annotations"] = {names.IN_SYNC: "", names.ASLEEP: f"{self.who(0)}@{END[0]}/{END[1]}"}
        lease["spec"] = {"leaseTransitions": 5, "leaseDurationSeconds": 15}
        self.kube.put(lease)

    @property
    def asleep(self) -> str:
        return str(self.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"].get(names.ASLEEP, ""))

    def tell(self, ordinal: int, boot: int, stored: Position | None) -> None:
        self.run_pod(ordinal, uid=f"new{ordinal}", boot=boot)
        who = self.who(ordinal, f"new{ordinal}", boot)
        self.pods.tells[f"new{ordinal}"] = Telling(who, stored=stored, knows_stored=True, storage="Ready")


# --- going to sleep


async def test_all_but_one_go_first_and_the_last_when_it_leads_alone() -> None:
    world = Sleeper()
    await world.play_on()
    world.hold(2, 4, 2, 0, 1)
    world.scale(0)
    await world.look()
    assert world.replicas == 3 and world.pods.handed_off[-1][1] == "arena-0"
    assert world.condition("Reconciling") == ("True", "Hibernating")
    world.hold(0, 5, 0, 1, 2)
    world.storage_is("Ready")
    await world.look(2)
    assert world.replicas == 1
    await world.look(2)
    assert world.replicas == 1 and "waiting for the end of arena-1, arena-2" in world.message("Reconciling")
    world.remove_pod(2)
    world.remove_pod(1)
    await world.look(2)
    assert world.replicas == 0
    assert world.condition("Ready") == ("True", "Serving"), "as long as it serves"


async def test_a_pod_stays_that_can_not_store_what_it_holds_for_however_long() -> None:
    world = Sleeper()
    await world.play_on()
    world.scale(0)
    await world.look()
    world.remove_pod(2)
    world.remove_pod(1)
    world.hold(0, 4, 0)
    world.storage_is("Failing")
    for _ in range(40):
        await world.look(11)
        assert world.replicas == 1
    assert "its storage takes what it holds (it is Failing)" in world.message("Reconciling")
    world.storage_is("Ready")
    await world.look(11)
    assert world.replicas == 0


async def test_a_game_that_sleeps_says_so_and_nothing_is_written() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    assert world.condition("Ready") == ("False", "Hibernated")
    assert "up to entry 123 of epoch 4, by arena-0" in world.message("Ready")
    assert "kubectl scale gc/arena --replicas=3" in world.message("Ready")
    assert world.condition("Reconciling") == ("False", "Hibernated")
    assert world.condition("Stalled")[0] == "False"
    assert world.condition("LeaderElected") == ("False", "Hibernated")
    assert world.condition("FullyReplicated") == ("True", "Hibernated")
    assert world.condition("TotalLoss")[0] == "absent"
    status = world.status
    assert (status["leader"], status["inSync"], status["players"], status["connections"]) == ("", [], 0, 0)
    for kind, name in (("Lease", "arena-gamestate"), ("Secret", "arena-mesh"), ("Service", "arena")):
        assert world.kube.one(kind, name)
    assert [e for e in world.events if e.startswith("Hiber")] == ["Hibernating", "Hibernated"]
    await world.settle()
    world.kube.writes.clear()
    for _ in range(20):
        assert await world.look(60) is None, "it is not looked at again by the clock"
    world.restart_operator()
    await world.look(60)
    assert not [write for write in world.kube.writes if write[0] != "apply"], (
        "but that an operator applies what it is to"
    )
    world.kube.writes.clear()
    for _ in range(3):
        await world.look(60)
    assert world.kube.writes == []
    assert not {"TotalLoss", "Failover", "BackstopNamed", "LeaseRestored"} & set(world.events)


async def test_a_game_that_never_ran_sleeps_from_the_start() -> None:
    world = Sleeper(replicas=0)
    await world.settle()
    world._count()
    await world.settle()
    assert world.replicas == 0
    assert world.condition("Ready") == ("False", "Hibernated")
    assert "nothing to store" in world.message("Ready")


async def test_pods_that_do_not_start_are_no_reason_to_stay() -> None:
    world = Sleeper()
    await world.settle()
    for ordinal in range(3):
        world.starting_pod(ordinal, f"pod{ordinal}", "ImagePullBackOff")
    world.scale(0)
    await world.look()
    assert world.replicas == 0


async def test_a_last_pod_that_is_killed_before_its_word_is_told_and_is_a_total_loss() -> None:
    world = Sleeper()
    await world.play_on()
    world.scale(0)
    await world.look()
    world.remove_pod(2)
    world.remove_pod(1)
    world.hold(0, 4, 0)
    world.storage_is("Ready")
    await world.look(2)
    assert world.replicas == 0
    world.remove_pod(0)
    await world.look(1)
    assert world.condition("Ready") == ("False", "Hibernated")
    assert "without its word that everything is stored" in world.message("Ready")
    for _ in range(10):
        assert await world.look(60) is None
    world.scale(3)
    await world.look(1)
    for ordinal, stored in ((1, (4, 90)), (2, (4, 90))):
        world.tell(ordinal, 1, stored)
    await world.look(20)
    assert world.record[0] == world.who(0), "the volume of arena-0 may still come"
    world.tell(0, 1, (4, 122))
    await world.look(2)
    heir = world.who(0, "new0")
    assert world.record == (heir, 1004, heir)
    assert world.condition("TotalLoss") == ("True", "Restored")
    assert "Restored" in world.events


# --- waking


async def test_it_wakes_with_everything_and_nobody_is_alarmed() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    world.scale(3)
    await world.look(3600)
    assert world.replicas == 3
    for ordinal in range(3):
        world.tell(ordinal, 1, END if ordinal == 0 else (4, 90))
    await world.look(2)
    assert world.condition("LeaderElected") == ("False", "Waking")
    assert world.record == (None, 5, ""), "the pods do that themselves"
    world.hold(0, 6, 0, 1, 2)
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("TotalLoss")[0] == "absent"
    assert "Woken" in world.events
    assert any("with everything up to entry 123 of epoch 4" in text for text in world.said)
    assert not {"TotalLoss", "Restored", "Failover", "BackstopNamed"} & set(world.events)


async def test_a_pod_that_takes_long_to_start_begins_by_itself_all_the_same() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    world.scale(1)
    await world.look(3600)
    world.run_pod(0, uid="new0", boot=1)
    world.pods.tells["new0"] = None  # its containers are yet to start
    for seconds in (1, 30):
        await world.look(seconds)
    world.tell(0, 1, END)
    for _ in range(4):
        await world.look(2)
        assert world.record == (None, 5, "") and "Restored" not in world.events
    await world.look(10)
    assert "Restored" in world.events, "it had its time"


async def test_it_may_be_woken_while_it_goes() -> None:
    world = Sleeper()
    await world.play_on()
    world.scale(0)
    await world.look()
    assert world.replicas == 1
    world.scale(3)
    await world.look(1)
    assert world.replicas == 3
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling")[1] != "Hibernating"


async def test_a_pod_that_does_not_claim_what_it_has_is_named() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    world.scale(1)
    await world.look(100)
    world.tell(0, 1, END)
    await world.look(1)
    assert world.record[0] is None
    await world.look(10)
    heir = world.who(0, "new0")
    assert world.record == (heir, 1005, heir)
    assert world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"][names.RESTORE] == "true"
    assert world.asleep == ""
    assert world.condition("TotalLoss")[0] == "absent"


async def test_an_older_copy_never_wins_while_the_last_pods_volume_has_not_been_seen() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    world.scale(3)
    await world.look(3600)
    world.starting_pod(0, "new0")
    world.tell(1, 1, (4, 90))
    world.tell(2, 1, END)
    for _ in range(20):
        await world.look(60)
        assert world.record == (None, 5, "")
    assert "waiting for a pod that has what was stored last: by arena-0" in world.message("LeaderElected")


async def test_what_is_not_there_any_more_is_a_total_loss_that_says_what() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    world.scale(3)
    await world.look(3600)
    world.tell(0, 1, None)
    world.tell(1, 1, (4, 90))
    await world.look(1)
    await world.look(15)
    assert world.record == (None, 5, ""), "the third may have more"
    world.tell(2, 1, (4, 100))
    await world.look(1)
    assert world.record[0] == world.who(2, "new2")
    assert world.condition("TotalLoss") == ("True", "Restored")
    text = "what arena-0 had stored when the game went to sleep (up to entry 123 of epoch 4) is not there any more"
    assert text in world.message("TotalLoss")
    assert any(text in said for said in world.said)


async def test_the_pod_that_went_last_comes_back_though_fewer_are_wanted() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    lease = copy.deepcopy(world.kube.one("Lease", "arena-gamestate"))
    lease["metadata"]["annotations"][names.ASLEEP] = f"{world.who(2)}@4/123"
    world.kube.put(lease)
    world.scale(1)
    await world.look(5)
    assert world.replicas == 3
    for ordinal in range(3):
        world.tell(ordinal, 1, END if ordinal == 2 else None)
    world.hold(2, 6, 2, 0)
    await world.look(5)
    assert world.pods.handed_off[-1][1] == "arena-0"


async def test_a_lease_deleted_while_it_sleeps_comes_back_with_the_last_word() -> None:
    world = Sleeper()
    await world.play_on()
    await world.go_to_sleep()
    word = world.asleep
    world.kube.remove("Lease", "arena-gamestate")
    world.restart_operator()
    await world.look(60)
    assert world.asleep == word and world.record == (None, 5, "")
    await world.settle()
    assert world.condition("Ready") == ("False", "Hibernated")
    assert "up to entry 123 of epoch 4" in world.message("Ready")


def test_a_last_word_is_not_put_back_over_a_game_that_plays() -> None:
    word = Asleep(Incarnation("arena-0_pod0_1"), *END)
    known = LastKnown(5, (), asleep=word)
    assert new_lease(known, ()) == NewLease(5, (), False, word)
    silent = ObservedPod("arena-0", "new0", running=True)
    assert new_lease(known, (silent,)) is None
    who = Incarnation("arena-0_new0_1")
    held = Record(9, who, 6, (who,))
    plays = replace(silent, told=Telling(who, leader="arena-0", epoch=6, in_sync=("arena-0",), held=held))
    assert new_lease(known, (plays,)) == NewLease(6, (who,), never_held=False)


@pytest.mark.parametrize("found", [None, (4, 90), (3, 500)])
def test_a_shared_storage_that_has_less_is_a_total_loss(found: Position | None) -> None:
    cluster = spec.parse(game_cluster(storage=REDIS))
    word = Asleep(Incarnation("arena-0_pod0_1"), *END)
    record = Record(9, None, 5, (), asleep=word)
    who = [Incarnation(f"arena-{i}_new{i}_1") for i in range(3)]

    def pods(stored: Position | None) -> list[ObservedPod]:
        told = [Telling(one, stored=stored, knows_stored=True) for one in who]
        return [ObservedPod(f"arena-{i}", f"new{i}", running=True, told=t) for i, t in enumerate(told)]

    woken = restore.wake(cluster, record, pods(END), 5, 10)
    assert woken is not None and woken.lost == () and woken.record.restore
    begun = restore.wake(cluster, record, pods(found), 5, 10)
    assert begun is not None and begun.lost == (word.by,)
    assert begun.stored == found and begun.record.never_held is (found is None)


# --- together with other settings


async def test_autoscaling_sleeps_too_and_wakes_with_what_is_asked_for() -> None:
    world = Sleeper(autoscaling={"minReplicas": 2, "maxReplicas": 5})
    await world.play_on()
    await world.go_to_sleep()
    assert world.condition("Ready") == ("False", "Hibernated")
    for _ in range(3):
        await world.look(60)
    assert world.replicas == 0, "the bounds are for a game that is awake"
    world.scale(4)
    await world.look(1)
    assert world.replicas == 4


async def test_without_a_storage_it_is_refused_with_what_to_do() -> None:
    world = World()
    await world.play()
    world.edit(replicas=0)
    await world.look()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert "Delete the GameCluster, or make one with storage.type Volume" in world.message("Stalled")
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 3, "the game goes on"


def test_the_leader_is_waited_for_as_long_as_it_takes() -> None:
    who = Incarnation("arena-0_pod0_1")
    record = Record(1, who, 3, (who,))
    pod = ObservedPod("arena-0", "pod0", running=True, ready=True)
    ready = Telling(who, leader="arena-0", storage="Ready")
    assert plan(0, 1, record, (pod,), 1e6, 3).replicas == 1
    assert plan(0, 1, record, (replace(pod, told=replace(ready, leader=None)),), 1e6, 3).replicas == 1
    assert plan(0, 1, record, (replace(pod, told=replace(ready, storage="Unknown")),), 1e6, 3).replicas == 1
    assert plan(0, 1, record, (replace(pod, told=ready),), 0, 3) == Plan(0)
    assert plan(0, 3, replace(record, holder=None), (pod,), 1e6, 3).replicas == 3, "the Lease was lost"
    assert plan(0, 1, record, (replace(pod, running=False, ended=True),), 0, 3) == Plan(0)
    assert plan(0, 1, replace(record, holder=None, in_sync=(), asleep=Asleep(who, 3, 1)), (pod,), 0, 3) == Plan(0)
