"""Makes the objects of one GameCluster as they should be. Writes only what differs.

What differs is told by two hashes: of what we applied, and of the fields that the API server then had us down for; what another
process applied, by ``applied.py``, which has the reasons.
"""

from __future__ import annotations

import functools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from . import applied, autoscaling, manifests, news, scaling, status
from . import labels as names
from .kinds import OPTIONAL
from .kube import Conflict, Kube, KubeError, NotFound, Refused, Unavailable
from .labels import Object
from .lease import new_lease
from .memory import Memory, Refusal
from .news import News
from .observed import Observed, is_owned
from .owned import is_labelled, owned
from .pods import Pods
from .scaling import Plan
from .spec import GameCluster, OperatorError, Problem
from .store import Store

log = logging.getLogger(__name__)

PRUNED = ("Service", "NetworkPolicy", "Ingress", *OPTIONAL)
"""Kinds of which a GameCluster may want fewer than before."""


class _Stuck(OperatorError):
    """Somebody has to do something."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _NotNow(OperatorError):
    """It will become possible by itself."""


@dataclass
class Outcome:
    """``trouble``: passes by itself; ``waiting``: on purpose."""

    problem: Problem | None = None
    trouble: str | None = None
    waiting: str | None = None
    news: list[News] = field(default_factory=list)


@dataclass
class Applier:
    kube: Kube
    pods: Pods
    store: Store
    cluster: GameCluster
    observed: Observed
    memory: Memory
    now: float
    admin_namespaces: tuple[str, ...] = ()
    _began: float = field(default_factory=time.monotonic)
    _adopted: list[str] = field(default_factory=list)

    async def apply(self, body: Object) -> Outcome:
        """One object that can't be written does not keep the others from it; but no pods without keys and Lease."""
        outcome = Outcome()
        if await self._try(self._begin(outcome), outcome):
            plan = await self._plan(outcome)
            wanted = manifests.applied(self.cluster, plan.replicas, self.admin_namespaces)
            done = {obj["kind"]: await self._try(self._object(obj), outcome) for obj in wanted}
            await self._try(self._prune(wanted), outcome)
            if done["StatefulSet"]:
                self._tell_scale(plan, body, outcome)
        return outcome

    async def _begin(self, outcome: Outcome) -> None:
        await self._secret()
        await self._lease(outcome)
        if self._adopted:
            await self._take_over(outcome)

    async def _try(self, step: object, outcome: Outcome) -> bool:
        try:
            await step  # type: ignore[misc]
        except _Stuck as error:
            outcome.problem = outcome.problem or error.problem
        except (_NotNow, Conflict) as error:
            outcome.trouble = outcome.trouble or str(error)
        except KubeError as error:
            log.warning("%s/%s: %s", self.cluster.namespace, self.cluster.name, error)
            outcome.trouble = outcome.trouble or _troubled(error)
        else:
            return True
        return False

    # --- keys and Lease: created once ---------------------------------------------------------------------------

    async def _secret(self) -> None:
        name = names.mesh_name(self.cluster.name)
        known = self.observed.objects.get(("Secret", name))
        if known is None:
            known = await self._found("Secret", name, adopt=_has_keys)
        if known is None:
            known = await self._new_secret(name)
        if not _has_keys(known):
            wanted = ", ".join((names.MESH_KEY, names.PLAYER_KEY, names.ADMIN_TOKEN))
            raise _Stuck(
                Problem("SecretIncomplete", f"Secret {name} must have the keys {wanted}: restore it from a backup")
            )
        self.memory.secret_data = known["data"]

    def _no_strangers(self) -> None:
        if self.observed.strangers:
            raise _NotNow("pods of an earlier GameCluster of this name, or of a deleted StatefulSet, are still ending")

    async def _new_secret(self, name: str) -> Object:
        self._no_strangers()
        obj = manifests.secret(self.cluster, lambda: secrets.token_urlsafe(48))
        if self.memory.secret_data is not None:
            obj["data"] = self.memory.secret_data
        elif self.observed.pods:
            text = (
                f"Secret {name} is gone, and pods still run with its keys: new keys would split the cluster. Restore the "
                f"Secret from a backup; or, if the game's state may be lost, delete the StatefulSet {self.cluster.name}: "
                "keys are made when no pod is left"
            )
            raise _Stuck(Problem("SecretLost", text))
        return await self._create(obj)

    async def _lease(self, outcome: Outcome) -> None:
        name = names.lease_name(self.cluster.name)
        if self.observed.record is not None or await self._found("Lease", name) is not None:
            return
        self._no_strangers()
        known = status.last_known((await self._living()).get("status") or {})
        new = new_lease(known, self.observed.pods)
        if new is None:
            raise _NotNow(
                f"Lease {name} is gone, and it is not known who led: waiting for all running pods to answer on port {names.ADMIN_PORT}"
            )
        begins = new.never_held and self.cluster.storage.type == "Memory"  # else it is looked first what is stored
        await self._create(manifests.vacant_lease(self.cluster, new.epoch, new.in_sync, begins, new.asleep))
        if not new.never_held:
            outcome.news.append(news.lease_restored(new.epoch))

    async def _living(self) -> Object:
        """The GameCluster, from the API server now. What is owned by one that goes would go with it."""
        fresh = await self.kube.get("GameCluster", *self.cluster.key)
        if fresh is None or fresh["metadata"]["uid"] != self.cluster.uid or "deletionTimestamp" in fresh["metadata"]:
            raise _NotNow("the GameCluster is being deleted")
        return fresh

    async def _take_over(self, outcome: Outcome) -> None:
        """What was adopted is looked at first: until then nobody knows how many pods there are, and who leads them."""
        if self.observed.stateful_set is None:
            await self._found("StatefulSet", self.cluster.name)
        if "StatefulSet" in self._adopted:
            outcome.news.append(news.adopted(self.cluster.uid))
        raise _NotNow("what was left without an owner is taken over")

    async def _create(self, obj: Object) -> Object:
        id, wanted = (obj["kind"], obj["metadata"]["name"]), str(self.cluster.generation)
        return self._keep(await self._patiently(id, wanted, lambda: self.kube.create(obj)))

    # --- the others: applied ------------------------------------------------------------------------------------

    async def _object(self, plain: Object) -> None:
        obj = applied.marked(plain)
        id, wanted = (obj["kind"], obj["metadata"]["name"]), obj["metadata"]["annotations"][names.APPLIED]
        known = self.observed.objects.get(id)
        if known is not None and self.memory.applied.get(id) == (wanted, fields := _fields(known)):
            return
        if known is not None and id not in self.memory.applied and applied.is_applied(known, obj):
            self.memory.applied[id] = (wanted, fields)
            return
        result = self._keep(await self._patiently(id, wanted, lambda: self._write(obj, known)))
        self.memory.applied[id] = (wanted, _fields(result))

    async def _write(self, obj: Object, known: Object | None) -> Object:
        """On condition that the object is as it was seen: a write that comes late changes nothing."""
        where = (obj["kind"], obj["metadata"]["name"])
        try:
            return await self.kube.apply(_as_seen(obj, known if known is not None else await self._found(*where)))
        except Conflict:  # others write it too, its status for one
            return await self.kube.apply(_as_seen(obj, await self._found(*where)))

    async def _patiently(self, id: tuple[str, str], wanted: str, write: Callable[[], Awaitable[Object]]) -> Object:
        """Not again too soon after it failed, and each object by itself."""
        refusal = self.memory.refusals.get(id)
        if refusal is not None and refusal.holds(wanted, self.now):
            raise _Stuck(refusal.problem) if refusal.problem is not None else _NotNow(_troubled(refusal.error))
        try:
            result = await write()
        except Unavailable as error:
            absent = _absent(*id) if isinstance(error, NotFound) and id[0] in OPTIONAL else None
            self.memory.refusals[id] = Refusal.after(
                refusal, wanted, str(error), absent, self._later(), error.retry_after_seconds
            )
            if absent is not None:
                raise _Stuck(absent) from error
            raise
        except Refused as error:
            problem = _refused(*id, error)
            self.memory.refusals[id] = Refusal.after(refusal, wanted, str(error), problem, self._later())
            raise _Stuck(problem) from error
        self.memory.refusals.pop(id, None)
        return result

    def _later(self) -> float:
        """``now``, after what the API server took its time for."""
        return self.now + time.monotonic() - self._began

    async def _found(self, kind: str, name: str, adopt: object = None) -> Object | None:
        """An object that should be ours and has not been seen: None if it is not there. Never takes what belongs to others."""
        found = await self.kube.get(kind, self.cluster.namespace, name)
        if found is None:
            return None
        if is_owned(found, self.cluster.uid):
            return self._keep(found)
        owners = found["metadata"].get("ownerReferences") or []
        if any(o.get("kind") == "GameCluster" and o.get("name") == self.cluster.name for o in owners):
            raise _NotNow(f"{kind} {name} of an earlier GameCluster of this name is still being deleted")
        if not owners and (is_labelled(found, self.cluster.name) or (adopt is not None and adopt(found))):  # type: ignore[operator]
            return await self._adopt(found)
        text = f"{kind} {name} exists and belongs to something else: delete or rename it, or give this GameCluster another name"
        raise _Stuck(Problem("NameTaken", text))

    async def _adopt(self, found: Object) -> Object:
        """What has no owner, as after ``kubectl delete --cascade=orphan``: play goes on there."""
        await self._living()
        kind, meta = found["kind"], found["metadata"]
        ours = owned(found["apiVersion"], kind, self.cluster, meta["name"], "mesh")["metadata"]
        condition = {key: meta[key] for key in ("uid", "resourceVersion")}
        labels = ours["labels"] | (meta.get("labels") or {})  # a Secret that was restored by hand may have none
        patch = {"metadata": {**condition, "labels": labels, "ownerReferences": ours["ownerReferences"]}}
        merge = functools.partial(self.kube.merge, kind, self.cluster.namespace, meta["name"], patch)
        adopted = await self._patiently((kind, meta["name"]), "adopted", merge)
        self._adopted.append(kind)
        return self._keep(adopted)

    async def _prune(self, wanted: list[Object]) -> None:
        """What we made and do not want any more: pods' own Services and routes, the NetworkPolicy."""
        kept = {(obj["kind"], obj["metadata"]["name"]) for obj in wanted}
        for (kind, name), obj in self.observed.objects.items():
            if kind in PRUNED and (kind, name) not in kept:
                await self.kube.delete(kind, self.cluster.namespace, name, obj["metadata"]["uid"])

    # --- how many pods ------------------------------------------------------------------------------------------

    async def _plan(self, outcome: Outcome) -> Plan:
        current = self.observed.stateful_set.replicas if self.observed.stateful_set else None
        shrinking = current is not None and self.cluster.replicas < current
        if not shrinking:
            self.memory.shrinking_since = None
        elif self.memory.shrinking_since is None:
            self.memory.shrinking_since = self.now
        since = self.now - self.memory.shrinking_since if self.memory.shrinking_since is not None else 0.0
        copies = self.cluster.game_state.replicas
        plan = scaling.plan(self.cluster.replicas, current, self.observed.record, self.observed.pods, since, copies)
        outcome.waiting = plan.waiting
        if plan.hand_off is not None and self.observed.admin_token is not None:
            await self.pods.hand_off(plan.hand_off.leader, self.observed.admin_token, plan.hand_off.to)
        return plan

    def _tell_scale(self, plan: Plan, body: Object, outcome: Outcome) -> None:
        before = self.observed.stateful_set
        if before is None:
            outcome.news.append(news.created(plan.replicas, self.cluster.image))
        elif before.replicas != plan.replicas:
            outcome.news.append(self._scaled(before.replicas, plan.replicas))

    def _scaled(self, before: int, after: int) -> News:
        going = scaling.only_one_going(self.observed.pods)
        if (before, after) == (1, 2) and going is not None:
            return news.second_pod(going)
        if self.memory.autoscaling is None:
            return news.scaled(before, after, self.cluster.generation)
        version = self.observed.objects["StatefulSet", self.cluster.name]["metadata"]["resourceVersion"]
        return autoscaling.scaled(before, after, self.memory.autoscaling.reason, version)

    def _keep(self, obj: Object) -> Object:
        self.store.put(obj)
        return obj


def _has_keys(secret: Object) -> bool:
    data = secret.get("data") or {}
    return all(data.get(key) for key in (names.MESH_KEY, names.PLAYER_KEY, names.ADMIN_TOKEN))


def _troubled(error: KubeError | str) -> str:
    return f"the API server does not answer as it should: {error}"


def _refused(kind: str, name: str, error: Refused) -> Problem:
    what = f"{kind} {name}"
    if "is forbidden: User" in str(error):
        return Problem("Forbidden", f"{what}: {error}. Give the operator the rights of its chart")
    hint = " (is it in spec.template?)" if kind == "StatefulSet" else ""
    return Problem("Refused", f"the API server refused {what}{hint}: {error}")


def _absent(kind: str, name: str) -> Problem:
    if kind == "HTTPRoute":
        advice = "install the Gateway API's CRDs (v1) and a controller for them, or set spec.expose.type to Ingress"
    else:
        advice = "GKE has it where its Ingress controller is on; elsewhere set spec.expose.className to another class"
    return Problem("KindMissing", f"{kind} {name}: the API server does not know this kind: {advice}")


def _as_seen(obj: Object, known: Object | None) -> Object:
    if known is None:
        return obj
    condition = {key: known["metadata"][key] for key in ("uid", "resourceVersion")}
    return {**obj, "metadata": {**obj["metadata"], **condition}}


def _fields(obj: Object) -> str:
    return applied.digest(applied.fields_of(obj))
