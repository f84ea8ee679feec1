"""What pods say, over real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gamecluster_operator.observed import ObservedPod, pod, telling
from gamecluster_operator.pods import AdminPods
from gamecluster_operator.record import Incarnation, Record

CLUSTER = {
    "cluster": "arena",
    "self": "arena-1",
    "leader": "arena-0",
    "epoch": 7,
    "seq": 40213,
    "inSync": ["arena-0", "arena-1"],
    "status": "Serving",
    "players": 120,
    "nodes": [
        {"name": "arena-0", "incarnation": "arena-0_a_1", "connections": 40},
        {"name": "arena-1", "incarnation": "arena-1_b_2", "connections": 2},
    ],
    "lastFailover": {
        "from": "arena-1",
        "to": "arena-0",
        "epoch": 7,
        "reason": "link reset",
        "detectMilliseconds": "3",
        "claimMilliseconds": 9.5,
        "equaliseMilliseconds": None,
        "takeoverMilliseconds": 21,
        "firstCommitMilliseconds": 1e400,
    },
}


class Admin:
    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.answer: Any = CLUSTER

    async def cluster(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=401)
        return web.json_response(self.answer)

    async def hand_off(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        return web.json_response({}, status=202)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Admin, AdminPods]]:
    admin, app = Admin(), web.Application()
    app.router.add_get("/cluster", admin.cluster)
    app.router.add_post("/handoff", admin.hand_off)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pods = AdminPods(port=runner.addresses[0][1])
    yield admin, pods
    await pods.close()
    await runner.cleanup()


POD = ObservedPod("arena-1", "b", "127.0.0.1", running=True)


async def test_a_pod_tells_who_it_is_and_what_it_knows(served: tuple[Admin, AdminPods]) -> None:
    told = (await served[1].ask([POD], "secret"))["b"]
    assert told is not None
    assert (told.incarnation, told.leader, told.epoch, told.players, told.connections) == (
        "arena-1_b_2",
        "arena-0",
        7,
        120,
        42,
    )
    last = told.last_failover
    assert last is not None and last.milliseconds() == {"claimMilliseconds": 10, "takeoverMilliseconds": 21}
    assert (told.held, told.last, told.bound) == (None, (0, 0), ())


async def test_many_silent_pods_of_one_cluster_keep_nobody_from_asking_those_of_another(
    served: tuple[Admin, AdminPods],
) -> None:
    pods = served[1]
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.2", pods._port)
    many = [ObservedPod(f"big-{number}", str(number), "127.0.0.2", running=True) for number in range(150)]
    asking = asyncio.gather(*(pods.ask(many[start : start + 30], "secret") for start in range(0, 150, 30)))
    await asyncio.sleep(0)
    assert (await pods.ask([POD], "secret"))["b"] is not None
    assert all(answer is None for answers in await asking for answer in answers.values())
    over.set()
    silent.close()
    await silent.wait_closed()


def test_a_pod_tells_of_the_last_record_it_knows_of_its_log_and_of_its_seal() -> None:
    held = {"version": 31, "holder": "arena-0_a_1", "epoch": 7, "inSync": ["arena-0_a_1", "arena-1_b_2"]}
    told = telling({**CLUSTER, "held": held, "last": {"epoch": 7, "seq": 12}, "bound": ["arena-0_a_1"]})
    assert told is not None
    assert told.held == Record(
        31, Incarnation("arena-0_a_1"), 7, (Incarnation("arena-0_a_1"), Incarnation("arena-1_b_2"))
    )
    assert (told.last, told.bound) == ((7, 12), ("arena-0_a_1",))
    assert telling({**CLUSTER, "held": {"version": 31}}) is None, "half an answer is none"


def test_a_pod_without_a_node_has_never_run() -> None:
    meta = {"name": "arena-1", "uid": "b"}
    pending = {"conditions": [{"type": "PodScheduled", "status": "False"}]}
    assert pod({"metadata": meta, "status": pending}).unplaced
    placed = {"conditions": [{"type": "PodScheduled", "status": "True"}]}
    assert not pod({"metadata": meta, "status": placed}).unplaced
    assert not pod({"metadata": meta, "status": {}}).unplaced


async def test_a_wrong_token_an_unknown_answer_and_no_answer_are_only_unknown(served: tuple[Admin, AdminPods]) -> None:
    admin, pods = served
    assert await pods.ask([POD], "wrong") == {"b": None}
    admin.answer = {"hello": "world"}
    assert await pods.ask([POD], "secret") == {"b": None}
    closed = AdminPods(port=1)
    assert await closed.ask([POD], "secret") == {"b": None}
    await closed.hand_off(POD, "secret", None)
    await closed.close()


async def test_a_pod_without_an_address_is_not_asked(served: tuple[Admin, AdminPods]) -> None:
    assert await served[1].ask([ObservedPod("arena-1", "b")], "secret") == {}


async def test_a_hand_over_is_asked_for(served: tuple[Admin, AdminPods]) -> None:
    await served[1].hand_off(POD, "secret", "arena-0")
    await served[1].hand_off(POD, "secret", None)
    assert served[0].bodies == [{"to": "arena-0"}, {"to": None}]


@pytest.mark.parametrize(
    "answer", [None, 1, [], {}, {"nodes": 1}, {"nodes": [], "self": "x"}, {**CLUSTER, "epoch": "x"}]
)
def test_nonsense_is_not_a_telling(answer: Any) -> None:
    assert telling(answer) is None
