"""Channels whose methods await: one call at a time for each client and topic, in order, and nobody else waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar

import jwt
import pytest
from tests.shell.fakes import FakeBackend, FakeClient, FakeClock, FakeSocket

from gamecluster import Channel, Rejected, on
from gamecluster.core.messages import Fields
from gamecluster.phoenix.codec import Vsn
from gamecluster.settings import Settings
from gamecluster.shell import seat
from gamecluster.shell.clients import Hub
from gamecluster.shell.joins import Tokens
from gamecluster.shell.metrics import Metrics

KEY = b"k" * 32


class Desk(Channel):
    topic = "desk:*"
    story: ClassVar[list[str]] = []

    async def join(self, payload: Fields) -> Fields:
        self.cluster.at_end(lambda: self.story.append("ended"))
        if payload.get("waits"):
            await self._ask("join")
        return {"player": self.player}

    async def leave(self) -> None:
        self.story.append("left")

    @on("slow")
    async def slow(self, what: str) -> Fields:
        self.broadcast("began", {"what": what})
        answer = await self._ask(what)
        return {"what": what, **answer}

    @on("quick")
    def quick(self) -> Fields:
        return {"quick": True}

    @on("crash")
    async def crash(self) -> None:
        await self._ask("crash")
        raise RuntimeError("after waiting")

    async def _ask(self, what: str) -> Fields:
        return await self.cluster._backend.ask("desk", what, {})


class Stage:
    def __init__(self) -> None:
        Desk.story.clear()
        self.clock = FakeClock()
        self.backend = FakeBackend()
        self.tokens = Tokens(KEY, "arena", wall_clock=lambda: 1.7e9)
        self.hub = Hub(
            Settings(node="arena-0", name="arena", limit_messages_per_second=10_000),
            self.backend,
            [Desk],
            self.tokens,
            Metrics(),
            self.clock,
        )

    def client(self, token: str | None = None) -> FakeClient:
        socket = FakeSocket(self.clock)
        return FakeClient(self.hub, self.clock, self.hub.connect(socket, Vsn.V2, token), socket)

    def answer(self, number: int, **response: Any) -> None:
        self.backend.asked[number][1].set_result(response)

    def refuse(self, number: int, reason: str) -> None:
        self.backend.asked[number][1].set_exception(Rejected(reason))


async def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to it"
        await asyncio.sleep(0)


async def heard(client: FakeClient, count: int) -> list[Any]:
    frames: list[Any] = []

    def listen() -> bool:
        frames.extend(client.hear())
        return len(frames) >= count

    await until(listen)
    return frames


async def test_what_comes_while_a_method_waits_is_done_after_it_in_order() -> None:
    stage = Stage()
    client, other = stage.client(), stage.client()
    for each in (client, other):
        each.say("d", "d", "desk:1", "phx_join", {})
        await heard(each, 1)
    assert client.say("d", "1", "desk:1", "slow", {"what": "first"}) == []
    assert client.say("d", "2", "desk:1", "quick", {}) == []
    assert client.say("d", "3", "desk:1", "slow", {"what": "second"}) == []
    [quick] = other.say("d", "1", "desk:1", "quick", {})
    assert quick[4]["response"] == {"quick": True}, "another client waits for nothing"
    await until(lambda: stage.backend.asked)
    assert stage.backend.published == [], "what a method broadcasts is sent when it has ended"
    stage.answer(0, got=1)
    answers = await heard(client, 2)
    assert [frame[1] for frame in answers] == ["1", "2"]
    assert answers[0][4]["response"] == {"what": "first", "got": 1}
    await until(lambda: len(stage.backend.asked) == 2)
    stage.refuse(1, "no leader")
    [third] = await heard(client, 1)
    assert third[4] == {"status": "error", "response": {"reason": "no leader"}}
    assert [p.payload for p in stage.backend.published] == [b'{"what":"first"}'], "one that is refused has said nothing"


async def test_a_join_may_wait_and_who_has_left_meanwhile_leaves() -> None:
    stage = Stage()
    client = stage.client()
    assert client.say("d", "d", "desk:1", "phx_join", {"waits": True}) == []
    assert client.say("d", "1", "desk:1", "quick", {}) == []
    await until(lambda: stage.backend.asked)
    stage.answer(0)
    assert [(frame[1], frame[4]["status"]) for frame in await heard(client, 2)] == [("d", "ok"), ("1", "ok")]
    client.say("e", "e", "desk:2", "phx_join", {"waits": True})
    await until(lambda: len(stage.backend.asked) == 2)
    assert [frame[3] for frame in client.say("e", "2", "desk:2", "phx_leave", {})] == ["phx_reply", "phx_close"]
    stage.answer(1)
    await until(lambda: Desk.story)
    assert Desk.story == ["left", "ended"] and not stage.hub._topics.has("desk:2")


async def test_a_join_that_is_refused_after_waiting_gives_back_what_it_held() -> None:
    stage = Stage()
    client = stage.client()
    client.say("d", "d", "desk:1", "phx_join", {"waits": True})
    await until(lambda: stage.backend.asked)
    stage.refuse(0, "unknown")
    [answer] = await heard(client, 1)
    assert answer[4] == {"status": "error", "response": {"reason": "unknown"}}
    assert Desk.story == ["ended"] and not client.connection.channels


async def test_a_method_that_fails_after_waiting_crashes_its_topic_only() -> None:
    stage = Stage()
    client = stage.client()
    client.say("d", "d", "desk:1", "phx_join", {})
    await heard(client, 1)
    client.say("d", "1", "desk:1", "crash", {})
    client.say("d", "2", "desk:1", "quick", {})
    await until(lambda: stage.backend.asked)
    stage.answer(0)
    assert [frame[3] for frame in await heard(client, 1)] == ["phx_error"]
    assert Desk.story == ["ended"]
    client.say("e", "e", "desk:1", "phx_join", {})
    assert (await heard(client, 1))[0][4]["status"] == "ok"


async def test_a_lost_socket_lets_the_method_end_and_then_leaves() -> None:
    stage = Stage()
    client = stage.client()
    client.say("d", "d", "desk:1", "phx_join", {})
    await heard(client, 1)
    client.say("d", "1", "desk:1", "slow", {"what": "last"})
    client.say("d", "2", "desk:1", "slow", {"what": "never"})
    await until(lambda: stage.backend.asked)
    stage.hub.disconnected(client.connection)
    assert Desk.story == []
    stage.answer(0)
    await until(lambda: "ended" in Desk.story)
    assert Desk.story == ["left", "ended"] and len(stage.backend.asked) == 1


async def test_a_method_has_a_deadline_and_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    client = stage.client()
    client.say("d", "d", "desk:1", "phx_join", {})
    await heard(client, 1)
    monkeypatch.setattr(seat, "CALL_SECONDS", 0.2)
    client.say("d", "0", "desk:1", "slow", {"what": "stuck"})
    for number in range(seat.WAITING_AT_MOST):
        assert client.say("d", str(1 + number), "desk:1", "quick", {}) == []
    [refused] = client.say("d", "last", "desk:1", "quick", {})
    assert refused[4] == {"status": "error", "response": {"reason": "overloaded"}}
    frames = await heard(client, 1 + seat.WAITING_AT_MOST)
    assert frames[0][4] == {"status": "error", "response": {"reason": "timed out"}}
    assert {frame[4]["status"] for frame in frames[1:]} == {"ok"}


async def test_a_channel_knows_the_player_of_a_good_token() -> None:
    stage = Stage()
    token = stage.tokens.sign("ann", "s1")
    for client, payload in ((stage.client(), {"token": token}), (stage.client(token), {})):
        client.say("d", "d", "desk:1", "phx_join", payload)
        assert (await heard(client, 1))[0][4]["response"] == {"player": "ann"}
    for client in (stage.client(), stage.client("the socket's is no good")):
        client.say("d", "d", "desk:1", "phx_join", {})
        assert (await heard(client, 1))[0][4]["response"] == {"player": None}


@pytest.mark.parametrize(
    ("token", "detail"),
    [
        (7, "token: expected the text"),
        ("nonsense", "join without a token"),
        (jwt.encode({"sub": "ann", "aud": "arena", "stay": "s0"}, KEY, algorithm="HS256"), "of an earlier stay"),
    ],
)
async def test_a_token_that_is_no_good_any_more_is_refused(token: Any, detail: str) -> None:
    stage = Stage()
    stage.backend.tables["$players"] = {"ann": {"stay": "s1"}}
    client = stage.client()
    [answer] = client.say("d", "d", "desk:1", "phx_join", {"token": token})
    assert answer[4]["status"] == "error" and detail in answer[4]["response"]["detail"]
    assert Desk.story == []
