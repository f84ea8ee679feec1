"""Plays the pods, which run nothing: their kubelet (unless kwok does), their Leases, and their admin ports.

As pods do, the one that leads renews its Lease three times in ``leaseDurationSeconds``, with the server's own patch; all ready pods are
in sync at once. All pods number N have the address 127.42.0.N; which cluster is meant, the admin token tells.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from gamecluster.core.messages import Incarnation, Record
from gamecluster.core.view import ClusterView, NodeView, Status
from gamecluster.shell.lease import parse_document, patch_of
from gamecluster_operator.labels import ADMIN_PORT, ADMIN_TOKEN, INSTANCE, SELECT_MANAGED, lease_name

from .api import MERGE, Api, ApiError, Object

MOST_PODS = 10
"""Of one cluster."""
CONNECTIONS = 20
"""Of each pod."""
Key = tuple[str, str]


@dataclass
class Cluster:
    """``pods``: those that are ready, name → UID; ``wanted``: whom the leader was asked to hand over to."""

    pods: dict[str, str] = field(default_factory=dict)
    record: Record | None = None
    wanted: str | None = None
    renew_at: float = 0.0
    is_queued: bool = False

    @property
    def incarnations(self) -> dict[str, Incarnation]:
        return {name: Incarnation(f"{name}_{uid}_1") for name, uid in sorted(self.pods.items())}

    def next(self, now: float) -> Record | None:
        """The record as the pods would write it now, if they would."""
        record, alive = self.record, self.incarnations
        if record is None or not alive:
            return None
        leads = record.holder if record.holder in alive.values() else None
        holder = alive.get(self.wanted or "") or leads or next(iter(alive.values()))
        in_sync = (holder, *(who for who in alive.values() if who != holder))
        if (record.holder, record.in_sync) == (holder, in_sync):
            return record if now >= self.renew_at else None
        epoch = record.epoch + (record.holder != holder)
        return Record(version=record.version, holder=holder, epoch=epoch, in_sync=in_sync)


class Pods:
    """``plays_kubelet``: makes pods run, too; ``lease_seconds``: as in the spec."""

    def __init__(self, api: Api, *, plays_kubelet: bool, lease_seconds: int) -> None:
        self._api, self._plays_kubelet, self._lease_seconds = api, plays_kubelet, lease_seconds
        self._clusters: dict[Key, Cluster] = {}
        self._by_token: dict[str, Key] = {}
        self._changed: asyncio.Queue[Key] = asyncio.Queue()
        self._unready: asyncio.Queue[Object] = asyncio.Queue()
        self.asked = 0
        self.renewed = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        runner = await self._listen()
        only = f"labelSelector={SELECT_MANAGED},{INSTANCE}"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._api.follow(f"/api/v1/pods?{only}", self._see_pod))
                tasks.create_task(self._api.follow(f"/api/v1/secrets?{only}", self._see_secret))
                tasks.create_task(self._api.follow(f"/apis/coordination.k8s.io/v1/leases?{only}", self._see_lease))
                tasks.create_task(self._renew())
                for _ in range(8):
                    tasks.create_task(self._write_leases())
                    tasks.create_task(self._make_ready())
        finally:
            await runner.cleanup()

    # --- what they see ------------------------------------------------------------------------------------------

    def _see_pod(self, event: str, pod: Object) -> None:
        cluster, name, status = self._of(pod), pod["metadata"]["name"], pod.get("status") or {}
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        if event == "DELETED" or "deletionTimestamp" in pod["metadata"]:
            if cluster.pods.get(name) == pod["metadata"]["uid"]:
                del cluster.pods[name]
        elif is_ready:
            cluster.pods[name] = pod["metadata"]["uid"]
        elif self._plays_kubelet:
            self._unready.put_nowait(pod)
        self._look_at(_key(pod))

    def _see_lease(self, event: str, lease: Object) -> None:
        cluster = self._of(lease)
        record = parse_document(lease) if event != "DELETED" else None
        if record is None or cluster.record is None or record.version > cluster.record.version:
            cluster.record = record
            self._look_at(_key(lease))

    def _see_secret(self, _: str, secret: Object) -> None:
        token = base64.b64decode((secret.get("data") or {}).get(ADMIN_TOKEN, "")).decode()
        self._by_token[token] = _key(secret)

    def _of(self, obj: Object) -> Cluster:
        return self._clusters.setdefault(_key(obj), Cluster())

    def _look_at(self, key: Key) -> None:
        if not self._clusters[key].is_queued:
            self._clusters[key].is_queued = True
            self._changed.put_nowait(key)

    # --- what they do -------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        while True:
            now = time.monotonic()
            for key, cluster in self._clusters.items():
                if cluster.record is not None and now >= cluster.renew_at:
                    self._look_at(key)
            await asyncio.sleep(0.1)

    async def _write_leases(self) -> None:
        while True:
            key = await self._changed.get()
            cluster = self._clusters[key]
            cluster.is_queued = False
            await self._write_lease(key, cluster)

    async def _write_lease(self, key: Key, cluster: Cluster) -> None:
        before = cluster.record
        record = cluster.next(time.monotonic())
        if record is None or before is None:
            return
        cluster.wanted = None
        cluster.renew_at = time.monotonic() + self._lease_seconds / 3
        patch = patch_of(record, self._lease_seconds, acquired=before.holder != record.holder)
        try:
            path = f"/apis/coordination.k8s.io/v1/namespaces/{key[0]}/leases/{lease_name(key[1])}"
            self._see_lease("MODIFIED", await self._api.ask("PATCH", path, patch, MERGE))
            self.renewed += before == record
        except ApiError as error:
            if error.code not in (404, 409):  # somebody was faster: the watch tells
                raise

    async def _make_ready(self) -> None:
        while True:
            meta = (pod := await self._unready.get())["metadata"]
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
            try:
                await self._api.ask("PATCH", path, _running(pod), MERGE)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    # --- what they say ------------------------------------------------------------------------------------------

    async def _listen(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/cluster", self._tell)
        app.router.add_post("/handoff", self._hand_off)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        for n in range(MOST_PODS):
            await web.TCPSite(runner, f"127.42.0.{n}", ADMIN_PORT).start()
        return runner

    def _asked(self, request: web.Request) -> tuple[str, Cluster]:
        """Which pod of which cluster. Raises HTTPUnauthorized."""
        assert request.transport is not None
        self.asked += 1
        key = self._by_token.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if key is None:
            raise web.HTTPUnauthorized
        number = request.transport.get_extra_info("sockname")[0].rpartition(".")[2]
        return f"{key[1]}-{number}", self._clusters[key]

    async def _tell(self, request: web.Request) -> web.Response:
        name, cluster = self._asked(request)
        if name not in cluster.pods:
            raise web.HTTPServiceUnavailable
        return web.Response(body=msgspec.json.encode(_view(name, cluster)), content_type="application/json")

    async def _hand_off(self, request: web.Request) -> web.Response:
        _, cluster = self._asked(request)
        cluster.wanted = (await request.json())["to"]
        self._look_at(next(key for key, found in self._clusters.items() if found is cluster))
        return web.json_response({"asked": True}, status=202)


def _key(obj: Object) -> Key:
    return obj["metadata"]["namespace"], obj["metadata"]["labels"][INSTANCE]


def _view(name: str, cluster: Cluster) -> ClusterView:
    leader = (cluster.record.holder or "").split("_")[0] if cluster.record else ""
    nodes = [
        NodeView(
            name=pod,
            incarnation=who,
            role="leader" if pod == leader else "replica",
            state="alive",
            ready=True,
            connections=CONNECTIONS,
            revision="1",
            url=None,
            draining=False,
            pid=1,
        )
        for pod, who in cluster.incarnations.items()
    ]
    return ClusterView(
        self=name,
        leader=leader or None,
        epoch=cluster.record.epoch if cluster.record else 0,
        seq=1000,
        in_sync=[who.split("_")[0] for who in cluster.record.in_sync] if cluster.record else [],
        status=Status.serving if leader else Status.no_leader,
        reason="",
        ready=True,
        players=CONNECTIONS * len(nodes),
        nodes=nodes,
        last_failover=None,
        last={"epoch": 1, "seq": 1000},
    )


def _running(pod: Object) -> Object:
    meta, now = pod["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    address = f"127.42.0.{meta['name'].rpartition('-')[2]}"
    container = {
        "name": pod["spec"]["containers"][0]["name"],
        "image": pod["spec"]["containers"][0]["image"],
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    }
    return {
        "metadata": {"uid": meta["uid"]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container],
            "podIP": address,
            "podIPs": [{"ip": address}],
        },
    }
