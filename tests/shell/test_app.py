"""The client port of a whole node: handshakes, origins, the page, /servers, and how sockets end."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tests.shell.fakes import VIEW, node_view
from tests.shell.node import ask, hear, running, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gamecluster.core.view import ClusterView, Status
from gamecluster.shell.app import connection_token, is_allowed, list_servers, own_path


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "is_it"),
    [
        (None, "a:4000", (), True),
        ("http://a:4000", "a:4000", (), True),
        ("https://Play.Example.com", "play.example.com", (), True),
        ("https://evil.example", "a:4000", (), False),
        ("https://evil.example", None, (), False),
        ("null", "a:4000", (), False),
        ("http://[", "a:4000", (), False),
        ("https://play.example", "a:4000", ("https://play.example",), True),
        ("http://play.example", "a:4000", ("https://play.example",), False),
        ("https://anything", "a:4000", ("*",), True),
    ],
)
def test_origins(origin: str | None, host: str | None, allowed: tuple[str, ...], is_it: bool) -> None:
    assert is_allowed(origin, host, allowed) is is_it


def view_of(*nodes: Any) -> ClusterView:
    return ClusterView("arena-2", "arena-0", 1, 1, [], Status.serving, "", True, 0, list(nodes), None)


def test_servers_are_the_nodes_that_can_be_reached() -> None:
    assert [s["name"] for s in list_servers(VIEW, "ws://lb/socket")] == ["arena-0", "arena-2"]
    leaving, dead = node_view("arena-1", draining=True), node_view("arena-3", state="suspected")
    view = view_of(node_view("arena-0"), leaving, node_view("arena-2", url=None), dead)
    assert list_servers(view, "ws://lb/socket") == [{"name": "arena-0", "url": "ws://arena-0:4000/socket"}]
    assert list_servers(view_of(node_view("arena-2", url=None)), "wss://lb/socket") == [
        {"name": "arena-2", "url": "wss://lb/socket"}
    ]


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_token_may_come_as_a_subprotocol_in_either_alphabet(alphabet: Any) -> None:
    token = "a.b~c?>ÿ?"
    offered = "base64url.bearer.phx." + alphabet(token.encode()).decode().rstrip("=")
    assert connection_token({"token": "query"}, ["phoenix", offered]) == token
    assert connection_token({"token": "query"}, ["phoenix"]) == "query"
    assert connection_token({}, []) is None
    assert connection_token({}, ["base64url.bearer.phx.%%%"]) is None


async def test_a_node_serves_its_page_its_address_and_both_serializers(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        page = await node.http.get(f"{node.url}/client.js")
        assert page.status_code == 200 and "javascript" in page.headers["content-type"]
        assert page.headers["cache-control"] == "no-cache"
        assert (await node.http.get(f"{node.url}/../pyproject.toml")).status_code == 404
        assert (await node.http.get(f"{node.url}/%2e%2e/settings.py")).status_code == 404
        here = [{"name": "arena-0", "url": f"ws://127.0.0.1:{node.settings.port}/socket"}]
        assert (await node.http.get(f"{node.url}/servers")).json() == {"servers": here}
        proxied = {"X-Forwarded-Proto": "https", "Host": "play.example"}
        answer = await node.http.get(f"{node.url}/servers", headers=proxied)
        assert answer.json()["servers"][0]["url"] == "wss://play.example/socket"

        async with node.connect() as v2, node.connect("") as v1:
            joined = await ask(v2, "game", "phx_join", {"player": "p1"})
            assert joined["status"] == "ok" and joined["response"]["state"] == {"totals": {"p1": {"value": 0}}}
            assert (await ask(v2, "game", "add", {"amount": 2, "n": 1}, "2"))["response"]["value"] == 2
            await v1.send(json.dumps({"topic": "room:1", "event": "phx_join", "payload": {}, "ref": 0}))
            assert (await hear(v1))["ref"] == 0
            assert (await ask(v2, "room:1", "phx_join", ref="3"))["status"] == "ok"
            await v1.send(json.dumps({"topic": "room:1", "event": "shout", "payload": {"a": 1}, "ref": 1}))
            async with asyncio.timeout(5):
                while (heard := await hear(v2))[3] != "shout":
                    pass
            assert heard == [None, None, "room:1", "shout", {"a": 1}]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("wss://play.example/arena-0/socket", "/arena-0"),
        ("ws://play.example/a/b/socket", "/a/b"),
        ("ws://127.0.0.1:4000/socket", ""),
        ("", ""),
    ],
)
def test_the_path_that_is_a_nodes_own_is_read_from_its_address(url: str, path: str) -> None:
    assert own_path(url) == path


async def test_a_node_behind_a_path_of_its_own_is_reached_with_it_and_without(tmp_path: Path) -> None:
    url = "wss://play.example/arena-0/socket"
    async with running(tmp_path, url=url) as node:
        for base in (node.url, f"{node.url}/arena-0"):
            assert (await node.http.get(f"{base}/client.js")).status_code == 200
            assert (await node.http.get(f"{base}/servers")).json() == {"servers": [{"name": "arena-0", "url": url}]}
            async with connect(f"{base.replace('http', 'ws')}/socket/websocket?vsn=2.0.0") as socket:
                assert (await ask(socket, "room:1", "phx_join"))["status"] == "ok"
        assert (await node.http.get(f"{node.url}/arena-1/servers")).status_code == 404


async def test_who_may_not_connect_is_told_why(tmp_path: Path) -> None:
    async with running(tmp_path, allowed_origins=("https://play.example",), limit_connections=2) as node:

        async def refusal(query: str = "?vsn=2.0.0", **options: Any) -> tuple[int, str]:
            with pytest.raises(InvalidStatus) as raised:
                async with node.connect(query, **options):
                    pass
            response = raised.value.response
            return response.status_code, bytes(response.body or b"").decode()

        assert await refusal("?vsn=3.0.0") == (403, "vsn '3.0.0' is not served: 1.0.0 and 2.0.0 are\n")
        status, text = await refusal(origin="https://evil.example")
        assert status == 403 and "https://evil.example" in text and "GAMECLUSTER_ALLOWED_ORIGINS" in text
        status, text = await refusal("/elsewhere")
        assert status == 404 and "/socket/websocket" in text
        async with (
            node.connect(origin="https://play.example"),
            node.connect(origin=node.url, subprotocols=["phoenix", "base64url.bearer.phx.eA"]) as second,
        ):
            assert second.subprotocol == "phoenix"
            assert (await refusal())[0] == 503
        allowed = await node.http.get(f"{node.url}/servers", headers={"Origin": "https://play.example"})
        assert allowed.headers["access-control-allow-origin"] == "https://play.example"
        foreign = await node.http.get(f"{node.url}/servers", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers

        async def has_room() -> bool:
            return bool((await node.http.get(f"{node.admin}/metrics")).text.count("gamecluster_connections 0.0"))

        await until(has_room)
        async with node.connect():
            pass


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("x" * 200_000, 1009),
        ("not json", 1007),
        ('["1","1","game","phx_join",7]', 1007),
        (b"\x00binary", 1007),
    ],
    ids=["too large", "not JSON", "wrong shape", "binary"],
)
async def test_a_bad_frame_closes_its_socket_with_a_reason_and_no_other(
    tmp_path: Path, frame: str | bytes, code: int
) -> None:
    async with running(tmp_path) as node, node.connect() as other, node.connect() as bad:
        assert (await ask(bad, "game", "phx_join", {"player": "p1"}))["status"] == "ok"
        await bad.send(frame)
        with pytest.raises(ConnectionClosed) as raised:
            while True:
                await hear(bad)
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == code
        assert raised.value.rcvd.reason
        assert (await ask(other, "phoenix", "heartbeat"))["status"] == "ok"


async def test_text_that_is_not_utf8_closes_with_1007(tmp_path: Path) -> None:
    async with running(tmp_path) as node, node.connect() as bad:
        await bad.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as raised:
            await hear(bad)
        assert raised.value.rcvd is not None and raised.value.rcvd.code == 1007


async def test_a_client_that_reads_nothing_is_dropped_while_others_play(tmp_path: Path) -> None:
    """The lazy one shouts and reads none of its own echoes; what waits for it is bounded, and then it is gone."""
    async with (
        running(tmp_path, limit_messages_per_second=100_000) as node,
        node.connect(max_queue=1) as lazy,
        node.connect() as healthy,
    ):
        assert (await ask(lazy, "room:1", "phx_join"))["status"] == "ok"
        assert (await ask(healthy, "game", "phx_join", {"player": "p1"}))["status"] == "ok"
        shout = json.dumps(["1", "2", "room:1", "shout", {"text": "x" * 60_000}])

        async def flood() -> None:
            for _ in range(1000):
                await lazy.send(shout)

        flooding = asyncio.create_task(flood())

        async def is_dropped() -> bool:
            assert (await ask(healthy, "game", "add", {"amount": 1}, "3"))["status"] == "ok"
            metrics = (await node.http.get(f"{node.admin}/metrics")).text
            return "gamecluster_slow_consumers_dropped_total 1.0" in metrics

        await until(is_dropped, seconds=20)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_a_drain_sends_clients_elsewhere_with_1012_and_ends_the_node(tmp_path: Path) -> None:
    async with running(tmp_path) as node, node.connect() as client:
        assert (await ask(client, "game", "phx_join", {"player": "p1"}))["status"] == "ok"
        assert (await node.http.post(f"{node.admin}/drain")).status_code == 202
        with pytest.raises(ConnectionClosed) as raised:
            while True:
                await hear(client)
        assert raised.value.rcvd is not None and raised.value.rcvd.code == 1012
        assert "connect to another" in raised.value.rcvd.reason
        async with asyncio.timeout(10):
            await asyncio.shield(node.task)


async def test_a_token_from_one_join_resumes_the_stay_on_a_new_socket(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        async with node.connect() as first:
            answer = (await ask(first, "game", "phx_join", {"player": "p1"}))["response"]
            assert (await ask(first, "game", "add", {"amount": 3, "n": 1}, "2"))["status"] == "ok"
        async with node.connect() as second:
            stranger = await ask(second, "game", "phx_join", {"player": "p1"})
            assert stranger == {"status": "error", "response": {"reason": "player taken"}}
            again = (await ask(second, "game", "phx_join", {"token": answer["token"]}, "2"))["response"]
            assert (again["player"], again["resumed"]) == ("p1", True)
            assert again["state"] == {"totals": {"p1": {"value": 3}}}
            repeat = await ask(second, "game", "add", {"amount": 3, "n": 1}, "3")
            assert repeat["response"]["value"] == 3
