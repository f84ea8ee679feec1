"""The admin port over ASGI: probes, look-ups, who may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from tests.shell.fakes import VIEW, node_view

from gamecluster.core.events import Event, HandOffRequested
from gamecluster.core.messages import Fields, Position, Tables
from gamecluster.core.roster import Groups
from gamecluster.core.view import ClusterView, Status
from gamecluster.settings import Settings
from gamecluster.shell.admin import make_admin
from gamecluster.shell.metrics import Metrics


class FakeDriver:
    def __init__(self) -> None:
        self.is_alive = True
        self.shown = VIEW
        self.events: list[Event] = []
        self.rooms: dict[str, Fields] = {}
        self.kept: dict[str, Fields] = {}

    def dispatch(self, event: Event) -> None:
        self.events.append(event)

    def position(self) -> Position:
        return Position(7, 40)

    def visible_tables(self) -> Tables:
        return {"ships": {"p1": {"x": 1.5}}}

    def groups(self) -> Groups:
        return {"guards": [("arena-1", "ann"), ("arena-2", "bob")], "made": []}

    def rows(self, table: str) -> dict[str, Fields]:
        return {"$names": {"npc:7": {"pod": "arena-1_uid_2", "id": "1"}}, "$rooms": self.rooms, "$kept": self.kept}[
            table
        ]

    def players_in(self, room: str) -> int | None:
        return {"duel-1": 2}.get(room)

    def view(self) -> ClusterView:
        return self.shown


class Admin:
    def __init__(self, **settings: Any) -> None:
        self.driver = FakeDriver()
        self.metrics = Metrics()
        self.drains = 0
        app = make_admin(Settings(node="arena-2", name="arena", **settings), self.driver, self.metrics, self._drain)
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:4200")

    def _drain(self) -> None:
        self.drains += 1


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    made = Admin()
    async with made.http:
        yield made


async def test_the_cluster_is_shown_as_the_node_sees_it(admin: Admin) -> None:
    answer = (await admin.http.get("/cluster")).json()
    nodes = answer.pop("nodes")
    assert answer == {
        "cluster": "arena",
        "self": "arena-2",
        "leader": "arena-0",
        "epoch": 7,
        "seq": 40,
        "inSync": ["arena-0", "arena-2"],
        "status": "Serving",
        "reason": "following arena-0",
        "ready": True,
        "players": 5,
        "lastFailover": None,
        "stored": None,
        "storage": "Memory",
        "held": None,
        "last": None,
        "bound": [],
    }
    assert nodes[0]["name"] == "arena-0" and nodes[0]["pid"] == 4711
    assert nodes[1]["incarnation"] == "arena-2_u_1"


async def test_the_dashboard_is_a_page_without_data_of_its_own(admin: Admin) -> None:
    answer = await admin.http.get("/dashboard")
    assert answer.status_code == 200 and "text/html" in answer.headers["content-type"]
    assert "arena" not in answer.text


async def test_state_names_groups_and_rooms(admin: Admin) -> None:
    assert (await admin.http.get("/state")).json() == {"epoch": 7, "seq": 40, "state": {"ships": {"p1": {"x": 1.5}}}}
    members = [{"node": "arena-1", "member": "ann"}, {"node": "arena-2", "member": "bob"}]
    assert (await admin.http.get("/groups")).json() == {"groups": {"guards": members, "made": []}}
    for path, answer in {"/names": {"names": {"npc:7": {"node": "arena-1"}}}, "/rooms": {"rooms": {}}}.items():
        assert (await admin.http.get(path)).json() == answer


def room(holder: str, *backups: str, epoch: int = 1) -> Fields:
    """A row of ``$rooms``."""
    return {"kind": "Duel", "epoch": epoch, "holder": holder, "backups": list(backups)}


async def test_rooms_are_shown_with_where_they_are_and_with_the_players_that_are_known_here(admin: Admin) -> None:
    admin.driver.rooms = {"duel-1": room("arena-2_u_1", "arena-0_u_1"), "duel-2": room("arena-0_u_1", epoch=4)}
    admin.driver.kept = {"duel-2": {"epoch": 3, "seq": 40, "tables": {}, "done": 0}}
    one: Fields = {"kind": "Duel", "node": "arena-2", "backups": ["arena-0"], "epoch": 1, "players": 2, "kept": None}
    other = {"kind": "Duel", "node": "arena-0", "backups": [], "epoch": 4, "players": None}
    kept = {"kept": {"epoch": 3, "seq": 40}}
    assert (await admin.http.get("/rooms")).json() == {"rooms": {"duel-1": one, "duel-2": other | kept}}


async def test_rooms_are_counted_by_node(admin: Admin) -> None:
    admin.driver.rooms = {
        "a": room("arena-2_u_1", "arena-0_u_1"),
        "b": room("arena-2_u_1", "arena-1_u_9"),
        "c": room("arena-0_u_1", "arena-2_u_1"),
    }
    counts = {
        "arena-0": {"holder": 1, "backup": 1},
        "arena-1": {"holder": 0, "backup": 1},
        "arena-2": {"holder": 2, "backup": 1},
    }
    assert (await admin.http.get("/rooms?counts=1")).json() == {"counts": counts}


async def test_probes(admin: Admin) -> None:
    for path in ("/livez", "/readyz", "/startupz"):
        assert (await admin.http.get(path)).status_code == 200
    admin.driver.shown = msgspec.structs.replace(VIEW, ready=False, status=Status.no_leader, reason="nobody holds it")
    answer = await admin.http.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "NoLeader: nobody holds it\n")
    assert (await admin.http.get("/livez")).status_code == 200
    going = node_view("arena-2", draining=True)
    admin.driver.shown = msgspec.structs.replace(VIEW, nodes=[node_view("arena-0"), going])
    answer = await admin.http.get("/readyz")
    assert answer.status_code == 503 and "draining" in answer.text
    for other in (node_view("arena-0", ready=False), node_view("arena-0", draining=True)):
        admin.driver.shown = msgspec.structs.replace(VIEW, nodes=[other, going])
        assert (await admin.http.get("/readyz")).status_code == 200, "there is no other for clients to go to"
    admin.driver.is_alive = False
    assert (await admin.http.get("/livez")).status_code == 503


async def test_each_part_of_a_failover_is_counted_once_when_it_is_known(admin: Admin) -> None:
    async def told(epoch: int, **account: Any) -> list[str]:
        named = {"from": "arena-0", "to": "arena-2", "epoch": epoch, "reason": "link reset"} | account
        admin.driver.shown = msgspec.structs.replace(VIEW, last_failover=named)
        await admin.http.get("/metrics")
        return (await admin.http.get("/metrics")).text.splitlines()

    whole = {
        "detectMilliseconds": 3,
        "claimMilliseconds": 9,
        "equaliseMilliseconds": 4,
        "takeoverMilliseconds": 13,
        "firstCommitMilliseconds": 21,
    }
    seconds = "gamecluster_failover_seconds"
    assert not any(seconds + "_count" in line for line in await told(7, **whole)), "of before this node's time"
    lines = await told(8, **{name: took for name, took in whole.items() if name != "firstCommitMilliseconds"})
    assert f'{seconds}_count{{phase="equalise"}} 1.0' in lines
    assert not any('phase="first_commit"' in line for line in lines)
    lines = await told(8, **whole)
    for phase, took in {"detect": 0.003, "claim": 0.009, "equalise": 0.004, "first_commit": 0.021}.items():
        assert f'{seconds}_count{{phase="{phase}"}} 1.0' in lines
        assert f'{seconds}_sum{{phase="{phase}"}} {took}' in lines
    lines = await told(9, **whole | {"reason": "handed over by arena-0"})
    assert f'{seconds}_count{{phase="detect"}} 1.0' in lines, "a hand-over is none"
    lines = await told(10)
    assert "gamecluster_failovers_total 3.0" in lines, "a server of before these fields"


async def test_metrics_show_the_nodes_view(admin: Admin) -> None:
    admin.metrics.moved(True, {})
    admin.metrics.moved(False, {"reason": "gap"})
    admin.metrics.moved(False, {"reason": "a rule of the game"})
    admin.driver.shown = msgspec.structs.replace(VIEW, last_failover={"to": "arena-0", "epoch": 7})
    assert "gamecluster_failovers_total 0.0" in (await admin.http.get("/metrics")).text
    account = {
        "from": "arena-0",
        "to": "arena-2",
        "epoch": 8,
        "reason": "r",
        "detectMilliseconds": 20,
        "takeoverMilliseconds": 60,
    }
    admin.driver.shown = msgspec.structs.replace(VIEW, leader="arena-2", epoch=8, last_failover=account)
    await admin.http.get("/metrics")
    lines = (await admin.http.get("/metrics")).text.splitlines()
    for line in (
        "gamecluster_epoch 8.0",
        "gamecluster_is_leader 1.0",
        "gamecluster_committed_seq 40.0",
        "gamecluster_players 5.0",
        "gamecluster_in_sync_members 2.0",
        "gamecluster_failovers_total 1.0",
        "gamecluster_failover_blackout_seconds_sum 0.08",
        'gamecluster_moves_total{outcome="ok"} 1.0',
        'gamecluster_moves_total{outcome="gap"} 1.0',
        'gamecluster_moves_total{outcome="rejected"} 1.0',
    ):
        assert line in lines


async def test_a_hand_over_is_asked_of_the_node(admin: Admin) -> None:
    for body in ({"to": "arena-0"}, {"to": None}, {}):
        assert (await admin.http.post("/handoff", json=body)).status_code == 202
    assert (await admin.http.post("/handoff")).status_code == 202
    assert [e.to for e in admin.driver.events if isinstance(e, HandOffRequested)] == ["arena-0", None, None, None]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"to": "arena-9"}', "there is no node 'arena-9'; there are: arena-0, arena-2"),
        (b'{"to": 7}', "expected"),
        (b"nonsense", "expected"),
        (b"[" * 10_000, "expected"),
    ],
)
async def test_a_hand_over_that_makes_no_sense_is_refused(admin: Admin, body: bytes, text: str) -> None:
    answer = await admin.http.post("/handoff", content=body)
    assert answer.status_code == 400 and text in answer.json()["error"]
    assert admin.driver.events == []


async def test_a_drain_begins_the_end(admin: Admin) -> None:
    answer = await admin.http.post("/drain")
    assert (answer.status_code, answer.json(), admin.drains) == (202, {"draining": True}, 1)


async def test_without_a_token_only_this_machine_and_no_foreign_page_may_ask(admin: Admin) -> None:
    assert (await admin.http.get("/cluster", headers={"Host": "evil.example:4200"})).status_code == 403
    assert (await admin.http.post("/drain", headers={"Origin": "https://evil.example"})).status_code == 403
    assert (await admin.http.get("/cluster", headers={"Origin": "http://127.0.0.1:4200"})).status_code == 200
    assert (await admin.http.get("/cluster", headers={"Host": "localhost:4200"})).status_code == 200
    assert (await admin.http.get("/livez", headers={"Host": "10.0.0.7:4200"})).status_code == 200
    assert admin.drains == 0


async def test_with_a_token_all_but_probes_and_metrics_need_it() -> None:
    admin = Admin(host="0.0.0.0", admin_token="s3cret")
    async with admin.http as http:
        for path in ("/cluster", "/state", "/names", "/groups", "/rooms"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
        for path in ("/handoff", "/drain"):
            assert (await http.post(path)).status_code == 401
        for path in ("/livez", "/readyz", "/startupz", "/metrics"):
            assert (await http.get(path)).status_code == 200
        right = {"Authorization": "Bearer s3cret", "Host": "arena-2.example"}
        assert (await http.get("/cluster", headers=right)).status_code == 200
    assert admin.drains == 0 and admin.driver.events == []
