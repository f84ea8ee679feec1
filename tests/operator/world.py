"""A GameCluster with a fake API server, fake pods and a clock, for tests of whole reconciliations."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gamecluster_operator import labels as names
from gamecluster_operator.labels import Object
from gamecluster_operator.observed import Failover, Telling
from gamecluster_operator.reconciler import Reconciler
from gamecluster_operator.record import Incarnation, Record
from gamecluster_operator.settings import Settings
from gamecluster_operator.status import condition
from gamecluster_operator.store import Store

from .fakes import Clock, FakeKube, FakePods

NAMESPACE = "games"


def game_cluster(name: str = "arena", uid: str = "uid-of-arena", **spec: Any) -> Object:
    spec = {"image": "game:1", "targets": ["game:Arena"], "replicas": 3, **spec}
    meta = {"name": name, "namespace": NAMESPACE, "uid": uid, "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": names.API_VERSION, "kind": "GameCluster", "metadata": meta, "spec": spec}


class World:
    """``kubelet`` and others act by methods; ``look`` is one reconciliation of ``arena``, after the watches have told all."""

    def __init__(self, **spec: Any) -> None:
        self.kube, self.pods, self.clock, self.store = FakeKube(), FakePods(), Clock(), Store()
        self.revision = "first"
        self.kube.put(game_cluster(**spec))
        self.restart_operator()

    def restart_operator(self) -> None:
        self.store = Store()
        wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.reconciler = Reconciler(self.kube, self.pods, self.store, Settings(), self.clock, lambda: wall)

    async def look(self, seconds: float = 0.0) -> float | None:
        """What the API server has reaches the store; then one look, ``seconds`` later than the last."""
        self.clock.seconds += seconds
        present = set(self.kube.objects)
        for id in [id for id in self.store._objects if id not in present]:
            self.store.drop(self.store._objects[id].object)
            self.store._deleted.clear()
        for obj in self.kube.objects.values():
            self.store.put(obj)
        return await self.reconciler.reconcile((NAMESPACE, "arena"))

    async def settle(self) -> None:
        """Looks until nothing is written any more."""
        for _ in range(10):
            self.kube.writes.clear()
            await self.look()
            if not self.kube.writes:
                return
        raise AssertionError(f"still writing: {self.kube.writes}")

    async def play(self, pods: int = 3) -> None:
        """Pods run, the first leads, the others are in sync."""
        await self.settle()
        for ordinal in range(pods):
            self.run_pod(ordinal)
        self.hold(0, 1, *range(pods))
        await self.settle()

    # --- what others do

    def run_pod(self, ordinal: int, uid: str | None = None, boot: int = 1, **status: Any) -> Incarnation:
        """The StatefulSet's controller and the kubelet: a pod of which the server runs, and answers."""
        name = f"arena-{ordinal}"
        uid = uid or f"pod{ordinal}"
        owner = self.kube.one("StatefulSet", "arena")["metadata"]["uid"]
        container = {"name": "server", "state": {"running": {}}, "restartCount": boot - 1}
        ready = {"type": "Ready", "status": "True"}
        meta = {"name": name, "namespace": NAMESPACE, "uid": uid, "labels": names.labels("arena")}
        old = self.kube.objects.get(("Pod", NAMESPACE, name))
        if old is not None and old["metadata"]["uid"] == uid:
            meta["labels"] = dict(old["metadata"]["labels"])
        else:
            meta["labels"] |= {names.REVISION: self.revision}
        self.kube.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {**meta, "ownerReferences": [{"kind": "StatefulSet", "name": "arena", "uid": owner}]},
                "spec": {},
                "status": {
                    "podIP": f"10.0.0.{ordinal}",
                    "containerStatuses": [container],
                    "conditions": [ready],
                    **status,
                },
            }
        )
        who = self.who(ordinal, uid, boot)
        self.pods.tells[uid] = Telling(who)
        self._count()
        return who

    def who(self, ordinal: int, uid: str | None = None, boot: int = 1) -> Incarnation:
        return Incarnation(f"arena-{ordinal}_{uid or f'pod{ordinal}'}_{boot}")

    def starting_pod(self, ordinal: int, uid: str, waiting: str = "", restarts: int = 0) -> None:
        """A pod whose server does not run yet, or never will: Kubernetes' word for why."""
        self.run_pod(ordinal, uid)
        state = {"waiting": {"reason": waiting or "ContainerCreating"}}
        container = {"name": "server", "state": state, "restartCount": restarts}
        self.run_pod(ordinal, uid, containerStatuses=[container], conditions=[])
        self.pods.tells.pop(uid)
        self._count()

    def new_revision(self, revision: str) -> None:
        """The StatefulSet's controller has seen another template."""
        self.revision = revision
        self._count()

    def end_container(self, ordinal: int) -> None:
        """The server has crashed and is not back yet."""
        pod = copy.deepcopy(self.kube.one("Pod", f"arena-{ordinal}"))
        pod["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 137}}
        pod["status"]["conditions"] = []
        self.kube.put(pod)
        self.pods.tells.pop(pod["metadata"]["uid"], None)
        self._count()

    def end_pod(self, ordinal: int) -> None:
        """``kubectl delete pod``, or an eviction: it was told to end, and still runs."""
        pod = copy.deepcopy(self.kube.one("Pod", f"arena-{ordinal}"))
        pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
        self.kube.put(pod)

    def remove_pod(self, ordinal: int) -> None:
        pod = self.kube.one("Pod", f"arena-{ordinal}")
        self.pods.tells.pop(pod["metadata"]["uid"], None)
        self.kube.remove("Pod", f"arena-{ordinal}")
        self._count()

    def silence(self, ordinal: int) -> None:
        self.pods.tells.pop(self.kube.one("Pod", f"arena-{ordinal}")["metadata"]["uid"], None)

    def hold(self, leader: int, epoch: int, *in_sync: int, failover: Failover | None = None, players: int = 0) -> None:
        """The pods' own record: ``leader`` has written it, and all who answer say so."""
        living = {t.incarnation.split("_")[0]: t.incarnation for t in self.pods.tells.values()}
        holder, members = living[f"arena-{leader}"], [living.get(f"arena-{i}", self.who(i)) for i in in_sync]
        version = self.write_record(holder, epoch, members)
        for uid, told in list(self.pods.tells.items()):
            self.pods.tells[uid] = Telling(
                told.incarnation,
                leader=f"arena-{leader}",
                epoch=epoch,
                status="Serving",
                in_sync=tuple(f"arena-{i}" for i in in_sync),
                players=players,
                connections=players,
                last_failover=failover,
                held=Record(version, holder, epoch, tuple(members)),
                last=(epoch, 1),
            )

    def lose_leader(self) -> None:
        """No pod leads any more, as far as any of them says."""
        for uid, told in list(self.pods.tells.items()):
            self.pods.tells[uid] = replace(told, leader=None)

    def write_record(self, holder: str | None, epoch: int, in_sync: list[Incarnation]) -> int:
        """Returns its version."""
        lease = copy.deepcopy(self.kube.one("Lease", "arena-gamestate"))
        lease["metadata"]["annotations"] = {names.IN_SYNC: ",".join(in_sync)}
        lease["spec"] |= {"holderIdentity": holder, "leaseTransitions": epoch}
        self.kube.put(lease)
        return int(self.kube.one("Lease", "arena-gamestate")["metadata"]["resourceVersion"])

    def renew(self) -> None:
        lease = copy.deepcopy(self.kube.one("Lease", "arena-gamestate"))
        lease["spec"]["renewTime"] = f"2026-01-01T00:00:{self.clock.seconds % 60:09.6f}Z"
        self.kube.put(lease)

    def edit(self, **spec: Any) -> None:
        body = copy.deepcopy(self.kube.one("GameCluster", "arena"))
        body["spec"] |= spec
        self.kube.put(body)

    # --- what can be seen

    @property
    def status(self) -> Object:
        status: Object = self.kube.one("GameCluster", "arena").get("status") or {}
        return status

    def condition(self, type: str) -> tuple[str, str]:
        found = condition(self.status, type)
        return (found["status"], found["reason"]) if found else ("absent", "")

    def message(self, type: str) -> str:
        found = condition(self.status, type)
        return str(found["message"]) if found else ""

    @property
    def events(self) -> list[str]:
        return [obj["reason"] for (kind, _, _), obj in self.kube.objects.items() if kind == "Event"]

    @property
    def said(self) -> list[str]:
        return [obj["message"] for (kind, _, _), obj in self.kube.objects.items() if kind == "Event"]

    @property
    def dead(self) -> str:
        """Whom the Lease calls dead."""
        return str(self.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"].get(names.DEAD, ""))

    @property
    def record(self) -> tuple[str | None, int, str]:
        lease = self.kube.one("Lease", "arena-gamestate")
        spec, notes = lease["spec"], lease["metadata"]["annotations"]
        return spec.get("holderIdentity"), spec["leaseTransitions"], notes.get(names.IN_SYNC, "")

    def _count(self) -> None:
        body = copy.deepcopy(self.kube.one("StatefulSet", "arena"))
        pods = [obj for (kind, _, _), obj in self.kube.objects.items() if kind == "Pod"]
        ready = sum(1 for pod in pods if pod["status"]["conditions"])
        generation = body["metadata"]["generation"]
        body["status"] = {
            "replicas": len(pods),
            "readyReplicas": ready,
            "observedGeneration": generation,
            "updateRevision": self.revision,
        }
        self.kube.put(body)
