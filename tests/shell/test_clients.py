"""The hub with fake sockets and a fake node: who gets what, and what nobody can do to others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import hypothesis
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shell.fakes import FakeBackend, FakeClient, FakeClock, FakeSocket, payload_of

from gamecluster import Channel, Rejected, on
from gamecluster.core.effects import Answer, Deliver, DeliverPatch, DeliverState, Replace
from gamecluster.core.events import ConnectionsCounted, PlayerJoined, PlayerLeft, PlayerMoved, Published
from gamecluster.core.messages import Position
from gamecluster.interest import Grid
from gamecluster.phoenix.codec import Vsn
from gamecluster.settings import Settings
from gamecluster.shell.clients import Hub
from gamecluster.shell.game_topics import RoomClass, UrlOf
from gamecluster.shell.joins import Tokens
from gamecluster.shell.metrics import Metrics
from gamecluster.shell.outbox import MAX_BYTES, MAX_FRAMES, binary_frame, text_frame

KEY = b"k" * 32


class Room(Channel):
    topic = "room:*"
    left: ClassVar[list[str]] = []

    def join(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        if payload.get("name") == "mallory":
            raise Rejected("not you")
        if payload.get("name") == "crash":
            raise RuntimeError("in join")
        self.push("hello", {"topic": self.topic})
        return {"welcome": payload.get("name", "")}

    def leave(self) -> None:
        self.left.append(self.topic)
        self.broadcast("gone", {})

    @on("shout")
    def shout(self, payload: dict[str, Any]) -> None:
        self.broadcast("shout", payload)

    @on("whisper")
    def whisper(self, to: str) -> dict[str, str]:
        self.push("whispered", {"to": to})
        return {"to": to}

    @on("crash")
    def crash(self) -> None:
        raise RuntimeError("in a handler")

    @on("draw")
    def draw(self, payload: bytes) -> bytes:
        self.push("drew", payload[:1])
        self.broadcast("drawn", payload)
        return payload[::-1]


class Stage:
    """A hub and what is around it."""

    def __init__(
        self,
        backend: FakeBackend | None = None,
        patch_rate: int = 0,
        rooms: Sequence[RoomClass] = (),
        url_of: UrlOf = lambda room: None,
        grids: Sequence[Grid] = (),
        **settings: Any,
    ) -> None:
        """Of a game with one table: ``ships`` with ``x`` and ``y``."""
        self.clock = FakeClock()
        self.backend = backend or FakeBackend()
        self.metrics = Metrics()
        self.tokens = Tokens(KEY, "arena", wall_clock=lambda: 1.7e9)
        made = Settings(node="arena-0", name="arena", **settings)
        fields = {"ships": ["x", "y"]}
        node = made, self.backend, [Room], self.tokens, self.metrics, self.clock
        self.hub = Hub(*node, patch_rate, fields, rooms, url_of, grids)

    def client(self, vsn: Vsn = Vsn.V2, token: str | None = None) -> FakeClient:
        socket = FakeSocket(self.clock)
        return FakeClient(self.hub, self.clock, self.hub.connect(socket, vsn, token), socket)

    def metric(self, name: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).split()[1])


@pytest.fixture
def stage() -> Stage:
    Room.left.clear()
    return Stage()


def error(ref: str, topic: str, response: Any, join_ref: str | None = "g") -> list[Any]:
    return [join_ref, ref, topic, "phx_reply", {"status": "error", "response": response}]


# --- topic game: joining


def test_a_join_is_asked_of_the_node_and_answered_with_token_and_state(stage: Stage) -> None:
    client = stage.client()
    client.ask_game("p1", nonce="once")
    [joined] = stage.backend.of(PlayerJoined)
    assert (joined.connection, joined.player, joined.stay, joined.nonce) == (
        client.connection.number,
        "p1",
        None,
        "once",
    )
    stage.backend.tables = {"ships": {"p1": {"x": 1.0}}, "empty": {}}
    stage.hub.answer(Answer(joined.request, True, {"player": "p1", "stay": "s7", "n": 4, "resumed": True}, join=True))
    [[_, _, topic, event, payload]] = client.hear()
    assert (topic, event, payload["status"]) == ("game", "phx_reply", "ok")
    token = payload["response"].pop("token")
    assert payload["response"] == {
        "player": "p1",
        "n": 4,
        "resumed": True,
        "epoch": 1,
        "seq": 10,
        "state": {"ships": {"p1": {"x": 1.0}}, "empty": {}},
    }
    claims = jwt.decode(token, KEY, algorithms=["HS256"], audience="arena", options={"verify_iat": False})
    assert claims == {"sub": "p1", "aud": "arena", "stay": "s7", "iat": 1_700_000_000}


def rejoin(stage: Stage, resumed: bool = True, **position: Any) -> Any:
    """A join's answer without the token, of a client that says it was at ``position``."""
    client = stage.client()
    client.ask_game("p1", **position)
    stage.hub.answer(
        Answer(stage.backend.last_request, True, {"player": "p1", "stay": "s7", "n": 4, "resumed": resumed}, join=True)
    )
    [[_, _, _, _, payload]] = client.hear()
    assert payload["status"] == "ok"
    return {name: value for name, value in payload["response"].items() if name in ("epoch", "seq", "ops", "state")}


def test_a_client_that_comes_back_gets_what_it_has_missed_instead_of_the_state(stage: Stage) -> None:
    stage.backend.known[Position(1, 4)] = [("ships", "p1", {"x": 5.0}), ("ships", "p2", None)]
    missed = {"epoch": 1, "seq": 10, "ops": [["ships", "p1", {"x": 5.0}], ["ships", "p2", None]]}
    assert rejoin(stage, epoch=1, seq=4) == missed
    stage.backend.known.clear()
    assert rejoin(stage, epoch=1, seq=4) == missed, "encoded once for all who come back from there"
    stage.backend.at = Position(1, 11)
    assert "state" in rejoin(stage, epoch=1, seq=4)


def test_a_client_that_missed_nothing_gets_no_ops(stage: Stage) -> None:
    stage.backend.known[Position(1, 10)] = []
    assert rejoin(stage, epoch=1, seq=10) == {"epoch": 1, "seq": 10, "ops": []}


def test_in_another_stay_the_same_numbers_may_be_another_history(stage: Stage) -> None:
    stage.backend.known[Position(1, 4)] = []
    assert rejoin(stage, resumed=False, epoch=1, seq=4) == {"epoch": 1, "seq": 10, "state": {"ships": {}}}


@pytest.mark.parametrize(
    "position",
    [
        {},
        {"epoch": 1},
        {"seq": 4},
        {"epoch": "1", "seq": 4},
        {"epoch": 1.0, "seq": 4},
        {"epoch": True, "seq": 4},
        {"epoch": 1, "seq": -4},
        {"epoch": 0, "seq": 0},
        {"epoch": None, "seq": None},
        {"epoch": [1], "seq": {"4": 4}},
        {"epoch": 2, "seq": 4},
        {"epoch": 1, "seq": 2**62},
    ],
    ids=str,
)
def test_with_no_position_or_one_that_nobody_knows_it_gets_the_state(stage: Stage, position: Any) -> None:
    stage.backend.known = {Position(1, 4): [], Position(0, 0): []}
    assert rejoin(stage, **position) == {"epoch": 1, "seq": 10, "state": {"ships": {}}}


def test_what_is_broadcast_after_the_missed_ops_follows_on_them(stage: Stage) -> None:
    stage.backend.known[Position(1, 4)] = []
    client = stage.client()
    client.ask_game("p1", epoch=1, seq=4)
    stage.hub.answer(Answer(stage.backend.last_request, True, {"stay": "s", "resumed": True}, join=True))
    client.hear()
    for seq in (9, 10, 11):
        stage.hub.deliver_patch(DeliverPatch(1, seq, []))
    assert [frame[4]["seq"] for frame in client.hear()] == [11]


def test_a_token_names_the_player_and_the_stay(stage: Stage) -> None:
    token = stage.tokens.sign("p1", "s7")
    stage.client().ask_game("p1", token=token)
    stage.client().ask_game(None, token=token)
    stage.client(token=token).ask_game("p1")
    assert [(j.player, j.stay) for j in stage.backend.of(PlayerJoined)] == [("p1", "s7")] * 3


def test_without_a_player_one_is_made_up(stage: Stage) -> None:
    stage.client().ask_game(None)
    stage.client().ask_game(None)
    one, other = (j.player for j in stage.backend.of(PlayerJoined))
    assert one != other and one.startswith("player-")


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        ({"player": 7}, "bad payload", "player: expected a text of 1 to 64 characters, got 7"),
        ({"player": ""}, "bad payload", "player: expected 1 to 64 characters, got 0"),
        ({"player": "x" * 65}, "bad payload", "player: expected 1 to 64 characters, got 65"),
        ({"player": "a\u0000b"}, "bad payload", "player: expected printable characters, got 'a\\x00b'"),
        ({"player": "__proto__"}, "bad payload", "player: expected printable characters, got '__proto__'"),
        ({"player": "p", "nonce": []}, "bad payload", "nonce: expected a text of 1 to 64 characters, got a list"),
        ({"player": "p", "token": 7}, "bad payload", "token: expected the text of an earlier join's answer, got 7"),
        ({"player": "p", "x": 2**64}, "bad payload", "['x']: expected int, got an int beyond 64 bits"),
        ({"player": "p", "token": "x.y.z"}, "bad token", "join without a token to begin anew"),
    ],
)
def test_a_bad_join_is_refused_with_what_would_be_right(stage: Stage, payload: Any, reason: str, detail: str) -> None:
    client = stage.client()
    [[_, ref, _, _, answer]] = client.say("g", "1", "game", "phx_join", payload)
    assert (ref, answer["status"], answer["response"]["reason"]) == ("1", "error", reason)
    assert detail in answer["response"]["detail"]
    assert stage.backend.events == []


@pytest.mark.parametrize(
    "token",
    [
        Tokens(b"x" * 32, "arena").sign("p1", "s"),
        Tokens(KEY, "other-cluster").sign("p1", "s"),
        jwt.encode({"sub": "p1", "aud": "arena"}, KEY, algorithm="HS256"),
        jwt.encode({"sub": "p1", "aud": "arena", "stay": ["s"]}, KEY, algorithm="HS256"),
        jwt.encode({"sub": "p1", "aud": "arena", "stay": "s"}, KEY * 2, algorithm="HS512"),
        jwt.encode({"sub": "p1", "aud": "arena", "stay": "s"}, None, algorithm="none"),
        Tokens(KEY, "arena").sign("p2", "s"),
    ],
    ids=["another key", "another cluster", "no stay", "odd stay", "another algorithm", "unsigned", "another player's"],
)
def test_a_token_that_is_not_this_players_is_refused(stage: Stage, token: str) -> None:
    client = stage.client()
    [[_, _, _, _, answer]] = client.say("g", "1", "game", "phx_join", {"player": "p1", "token": token})
    assert answer["status"] == "error"
    assert answer["response"]["reason"] in ("bad token", "bad payload")
    assert stage.backend.events == []


def test_a_join_that_the_leader_refuses_is_not_left_later(stage: Stage) -> None:
    client = stage.client()
    client.ask_game("p1")
    stage.hub.answer(Answer(stage.backend.last_request, False, {"reason": "player taken"}))
    assert client.hear() == [error("g", "game", {"reason": "player taken"})]
    stage.hub.disconnected(client.connection)
    assert stage.backend.of(PlayerLeft) == []


def test_without_a_game_the_join_is_still_the_nodes_to_answer(stage: Stage) -> None:
    stage.client().ask_game()
    assert len(stage.backend.of(PlayerJoined)) == 1


# --- topic game: moves


def test_a_move_is_asked_of_the_node_without_its_count_and_answered(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    assert client.say("g", "2", "game", "move", {"dx": 1, "n": 3}) == []
    [moved] = stage.backend.of(PlayerMoved)
    assert (moved.player, moved.event, moved.payload, moved.n) == ("p1", "move", {"dx": 1}, 3)
    stage.hub.answer(Answer(moved.request, True, {"epoch": 1, "seq": 11}))
    assert client.hear() == [["g", "2", "game", "phx_reply", {"status": "ok", "response": {"epoch": 1, "seq": 11}}]]


@pytest.mark.parametrize("n", [0, -1, "1", 1.0, True, None, []])
def test_a_count_that_is_no_positive_whole_number_is_refused(stage: Stage, n: Any) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    [[_, ref, _, _, answer]] = client.say("g", "2", "game", "move", {"n": n})
    assert (ref, answer["status"], answer["response"]["reason"]) == ("2", "error", "bad payload")
    assert answer["response"]["detail"].startswith("n: expected a whole number from 1, got ")
    assert stage.backend.of(PlayerMoved) == []


def test_what_the_mesh_could_not_carry_is_refused(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for payload in ({"dx": 10**30}, {"dx": deep}):
        [[_, _, _, _, answer]] = client.say("g", "2", "game", "move", payload)
        assert answer["response"]["reason"] == "bad payload"
    assert stage.backend.of(PlayerMoved) == []


def test_answers_go_to_who_asked_even_when_another_has_left(stage: Stage) -> None:
    one, other = stage.client(), stage.client()
    one.join_game(stage.backend, "p1")
    other.join_game(stage.backend, "p2")
    one.say("g", "2", "game", "move", {})
    other.say("g", "2", "game", "move", {})
    first, second = stage.backend.of(PlayerMoved)
    stage.hub.disconnected(one.connection)
    stage.hub.answer(Answer(second.request, True, {"who": "p2"}))
    stage.hub.answer(Answer(first.request, True, {"who": "p1"}))
    assert [frame[4]["response"] for frame in other.hear()] == [{"who": "p2"}]
    assert one.hear() == []


def test_moves_that_were_sent_before_the_joins_answer_follow_it(stage: Stage) -> None:
    client = stage.client()
    client.ask_game("p1")
    client.say("g", "2", "game", "move", {"n": 1})
    assert stage.backend.of(PlayerMoved) == []
    stage.hub.answer(Answer(stage.backend.last_request, True, {"player": "p1", "stay": "s"}, join=True))
    assert [m.n for m in stage.backend.of(PlayerMoved)] == [1]


def test_unanswered_moves_of_one_client_are_bounded() -> None:
    stage = Stage(limit_messages_per_second=10_000)
    client = stage.client()
    client.join_game(stage.backend)
    for n in range(1000):
        assert client.say("g", n, "game", "move", {}) == []
    assert client.say("g", "x", "game", "move", {}) == [error("x", "game", {"reason": "overloaded"})]
    stage.hub.answer(Answer(stage.backend.last_request, True, {}))
    client.hear()
    assert client.say("g", "y", "game", "move", {}) == []


# --- topic game: leaving


def test_a_lost_socket_begins_the_grace_and_a_leave_ends_the_stay(stage: Stage) -> None:
    one, other = stage.client(), stage.client()
    one.join_game(stage.backend, "p1")
    other.join_game(stage.backend, "p2")
    stage.hub.disconnected(one.connection)
    other.say("g", "2", "game", "phx_leave", {})
    assert stage.backend.of(PlayerLeft) == [
        PlayerLeft(one.connection.number, "p1", wanted=False),
        PlayerLeft(other.connection.number, "p2", wanted=True),
    ]
    stage.hub.disconnected(other.connection)
    assert len(stage.backend.of(PlayerLeft)) == 2


def test_a_socket_lost_before_the_joins_answer_leaves_too(stage: Stage) -> None:
    client = stage.client()
    client.ask_game("p1")
    stage.hub.disconnected(client.connection)
    assert [left.player for left in stage.backend.of(PlayerLeft)] == ["p1"]
    stage.hub.answer(Answer(stage.backend.last_request, True, {"player": "p1", "stay": "s"}, join=True))
    assert client.hear() == []


def test_joining_the_game_again_on_one_socket(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend, "p1")
    client.say("h", "h", "game", "phx_join", {"player": "p2"})
    assert [left.player for left in stage.backend.of(PlayerLeft)] == ["p1"]
    stage.hub.answer(Answer(stage.backend.last_request, True, {"player": "p2", "stay": "s2"}, join=True))
    reply, close = client.hear()
    assert reply[:2] == ["h", "h"] and reply[4]["response"]["player"] == "p2"
    assert close == ["g", "g", "game", "phx_close", {}]
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    assert len(client.hear()) == 1


def test_a_player_who_joined_elsewhere_loses_this_channel_and_nothing_else(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend, "p1")
    client.say("r", "r", "room:1", "phx_join", {})
    stage.hub.replace(Replace(client.connection.number, "someone else"))
    assert client.hear() == []
    stage.hub.replace(Replace(client.connection.number, "p1"))
    assert client.hear() == [["g", "g", "game", "phx_close", {}]]
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    assert client.hear() == []
    assert stage.backend.of(PlayerLeft) == []
    assert client.say("r", "2", "room:1", "whisper", {"to": "x"}) != []


# --- broadcasts


def test_a_patch_reaches_everyone_in_the_game_encoded_once_per_serializer(stage: Stage) -> None:
    players = [stage.client() for _ in range(3)]
    for number, player in enumerate(players):
        player.join_game(stage.backend, f"p{number}")
    v1 = stage.client(Vsn.V1)
    stage.hub.received(
        v1.connection, json.dumps({"topic": "game", "event": "phx_join", "ref": 1, "payload": {"player": "old"}})
    )
    stage.hub.answer(Answer(stage.backend.last_request, True, {"player": "old", "stay": "s"}, join=True))
    v1.hear()
    onlooker = stage.client()
    stage.hub.deliver_patch(DeliverPatch(1, 11, [("ships", "p1", {"x": 5.0}), ("ships", "p2", None)]))
    stage.clock.turn()
    patch = {"epoch": 1, "seq": 11, "ops": [["ships", "p1", {"x": 5.0}], ["ships", "p2", None]]}
    frames = [player.socket.writes[0][0] for player in players]
    assert payload_of(frames[0]) == [None, None, "game", "patch", patch]
    assert all(frame is frames[0] for frame in frames)
    assert v1.hear() == [{"topic": "game", "event": "patch", "payload": patch, "ref": None}]
    assert onlooker.hear() == []


def test_a_client_sees_no_patch_that_its_joins_state_has_already(stage: Stage) -> None:
    early = stage.client()
    early.join_game(stage.backend, "p1")
    stage.backend.at = Position(1, 12)
    late = stage.client()
    late.join_game(stage.backend, "p2")
    for seq in (11, 12, 13):
        stage.hub.deliver_patch(DeliverPatch(1, seq, []))
    assert [frame[4]["seq"] for frame in early.hear()] == [11, 12, 13]
    assert [frame[4]["seq"] for frame in late.hear()] == [13]


def test_a_state_replaces_everyones_copy(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    stage.backend.at, stage.backend.tables = Position(2, 40), {"ships": {"p9": {"x": 1.5}}}
    stage.hub.deliver_state(DeliverState(2, 40))
    expected = {"epoch": 2, "seq": 40, "state": {"ships": {"p9": {"x": 1.5}}}}
    assert client.hear() == [[None, None, "game", "state", expected]]


def test_what_one_turn_brings_is_written_at_once(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    for seq in range(11, 21):
        stage.hub.deliver_patch(DeliverPatch(1, seq, []))
    stage.clock.turn()
    assert [len(frames) for frames in client.socket.writes] == [10]


def test_a_broadcast_goes_to_its_topic_only(stage: Stage) -> None:
    one, other = stage.client(), stage.client()
    one.say("r", "r", "room:1", "phx_join", {})
    other.say("r", "r", "room:2", "phx_join", {})
    stage.hub.deliver(Deliver("room:1", "news", b'{"a":1}'))
    stage.hub.deliver(Deliver("room:unknown", "news", b"{}"))
    assert one.hear() == [[None, None, "room:1", "news", {"a": 1}]]
    assert other.hear() == []


# --- other topics


def test_a_channel_lets_in_and_its_pushes_follow_the_answer(stage: Stage) -> None:
    client = stage.client()
    assert client.say("r", "r", "room:1", "phx_join", {"name": "ann"}) == [
        ["r", "r", "room:1", "phx_reply", {"status": "ok", "response": {"welcome": "ann"}}],
        ["r", None, "room:1", "hello", {"topic": "room:1"}],
    ]


def test_who_joins_is_let_in_when_no_broadcast_can_pass_by(stage: Stage) -> None:
    client, other = stage.client(), stage.client()
    stage.backend.held = []
    assert client.say("r", "r", "room:1", "phx_join", {}) == []
    assert client.say("r", "1", "room:1", "shout", {"text": "hi"}) == []
    other.say("q", "q", "room:1", "phx_join", {})
    stage.hub.deliver(Deliver("room:1", "news", b"{}"))
    assert [frame[3] for frame in other.say("q", "2", "room:1", "phx_leave", {})] == ["phx_reply", "phx_close"]
    assert client.hear() == [] and stage.backend.wanted == ["room:1", "room:1", "no more room:1"]
    for let_in in stage.backend.held:
        let_in()
    assert [(frame[1], frame[3]) for frame in client.hear()] == [
        ("r", "phx_reply"),
        ("1", "phx_reply"),
        (None, "hello"),
    ]  # which the channel says at a join
    assert other.hear() == []
    stage.hub.deliver(Deliver("room:1", "news", b"{}"))
    assert [frame[3] for frame in client.hear()] == ["news"] and other.hear() == []
    client.say("r", "3", "room:1", "phx_leave", {})
    assert stage.backend.wanted[-1] == "no more room:1"


def test_a_channel_may_refuse_and_may_crash_in_join(stage: Stage) -> None:
    client = stage.client()
    assert client.say("r", "1", "room:1", "phx_join", {"name": "mallory"}) == [
        error("1", "room:1", {"reason": "not you"}, "r")
    ]
    assert client.say("r", "2", "room:1", "phx_join", {"name": "crash"}) == [
        error("2", "room:1", {"reason": "join crashed"}, "r")
    ]
    stage.hub.deliver(Deliver("room:1", "news", b"{}"))
    assert client.hear() == []


def test_a_channel_answers_and_publishes(stage: Stage) -> None:
    client = stage.client()
    client.say("r", "r", "room:1", "phx_join", {})
    assert client.say("r", "2", "room:1", "shout", {"text": "hi"}) == [
        ["r", "2", "room:1", "phx_reply", {"status": "ok", "response": {}}]
    ]
    assert stage.backend.published == [Published("room:1", "shout", b'{"text":"hi"}')]
    assert client.say("r", "3", "room:1", "whisper", {"to": "bob"}) == [
        ["r", None, "room:1", "whispered", {"to": "bob"}],
        ["r", "3", "room:1", "phx_reply", {"status": "ok", "response": {"to": "bob"}}],
    ]
    [answer] = client.say("r", "4", "room:1", "whisper", {"to": 7})
    assert answer[4]["response"] == {"reason": "bad payload", "detail": "to: expected str, got int"}
    [answer] = client.say("r", "5", "room:1", "sing", {})
    assert answer[4]["response"]["reason"] == "unknown event"


def test_a_channel_that_crashes_is_gone_and_the_others_are_not(stage: Stage) -> None:
    client, other = stage.client(), stage.client()
    for each in (client, other):
        each.say("r", "r", "room:1", "phx_join", {})
    client.join_game(stage.backend)
    assert client.say("r", "2", "room:1", "crash", {}) == [
        ["r", "r", "room:1", "phx_error", {"reason": "channel_crash"}]
    ]
    stage.hub.deliver(Deliver("room:1", "news", b"{}"))
    assert client.hear() == []
    assert len(other.hear()) == 1
    assert client.say("g", "3", "game", "move", {}) == [] and len(stage.backend.of(PlayerMoved)) == 1
    assert client.say("s", "s", "room:1", "phx_join", {})[0][4]["status"] == "ok"


def test_leaving_and_losing_the_socket_tell_the_channel(stage: Stage) -> None:
    client = stage.client()
    client.say("r", "r", "room:1", "phx_join", {})
    client.say("s", "s", "room:2", "phx_join", {})
    assert [frame[3] for frame in client.say("r", "2", "room:1", "phx_leave", {})] == ["phx_reply", "phx_close"]
    stage.hub.disconnected(client.connection)
    assert Room.left == ["room:1", "room:2"]
    assert [p.topic for p in stage.backend.published] == ["room:1", "room:2"]
    assert not stage.hub._topics.has("room:1") and not stage.hub._topics.has("room:2")


# --- binary data


def bytes_heard(client: FakeClient) -> list[bytes]:
    """What binary frames carried."""
    client.clock.turn()
    frames = [frame for frames in client.socket.writes for frame in frames]
    client.socket.writes.clear()
    assert all(frame[0] == 0x82 and frame[1] < 126 for frame in frames)
    return [frame[2:] for frame in frames]


def test_a_channel_takes_and_gives_bytes(stage: Stage) -> None:
    client = stage.client()
    client.say("r", "r", "room:1", "phx_join", {})
    stage.hub.received_binary(client.connection, b"\x00\x01\x01\x06\x04r2room:1draw\x01\xff")
    assert bytes_heard(client) == [b"\x00\x01\x06\x04rroom:1drew\x01", b"\x01\x01\x01\x06\x02r2room:1ok\xff\x01"]
    assert stage.backend.published == [Published("room:1", "drawn", b"\x01\xff", binary=True)]
    [answer] = client.say("r", "3", "room:1", "draw", {})
    assert answer[4]["response"] == {"reason": "bad payload", "detail": "expected bytes, got dict"}
    stage.hub.received_binary(client.connection, b"\x00\x01\x01\x06\x05r4room:1shout\x01")
    assert client.hear()[0][4]["response"] == {"reason": "bad payload", "detail": "expected dict, got bytes"}


def test_a_broadcast_of_bytes_reaches_those_who_can_read_it(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    clients = [stage.client() for _ in range(2)]
    for client in clients:
        client.say("r", "r", "room:1", "phx_join", {})
    old = stage.client(Vsn.V1)
    stage.hub.received(old.connection, b'{"topic":"room:1","event":"phx_join","ref":1,"payload":{}}')
    old.hear()
    for _ in range(2):
        stage.hub.deliver(Deliver("room:1", "drawn", b"\x01\xff", binary=True))
    assert [bytes_heard(client) for client in clients] == [[b"\x02\x06\x05room:1drawn\x01\xff"] * 2] * 2
    stage.hub.received(old.connection, b'{"topic":"room:1","event":"whisper","ref":2,"payload":{"to":"x"}}')
    assert [frame["event"] for frame in old.hear()] == ["whispered", "phx_reply"]
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "vsn 1.0.0" in warnings[0]


def test_the_game_speaks_json(stage: Stage) -> None:
    client = stage.client()
    stage.hub.received_binary(client.connection, b"\x00\x01\x01\x04\x08gggamephx_join")
    assert client.hear()[0][4]["response"] == {"reason": "bad payload", "detail": "expected dict, got bytes"}
    client.join_game(stage.backend)
    stage.hub.received_binary(client.connection, b"\x00\x01\x01\x04\x04g2gamemove\x01")
    assert client.hear() == [error("2", "game", {"reason": "bad payload", "detail": "expected dict, got bytes"})]
    assert stage.backend.of(PlayerMoved) == []


@pytest.mark.parametrize(("vsn", "code"), [(Vsn.V1, 1003), (Vsn.V2, 1007)])
def test_a_binary_frame_that_is_none_ends_its_own_socket(stage: Stage, vsn: Vsn, code: int) -> None:
    client, other = stage.client(vsn), stage.client()
    stage.hub.received_binary(client.connection, b"\x00binary")
    assert client.socket.closed is not None and client.socket.closed[0] == code
    stage.hub.received_binary(client.connection, b"\x00\x00\x01\x07\x091phoenixheartbeat")
    assert client.hear() == [] and len(stage.hub) == 1
    stage.hub.received_binary(other.connection, b"\x00\x00\x01\x07\x091phoenixheartbeat")
    assert other.hear()[0][4]["status"] == "ok"


# --- patches as bytes


def test_who_asks_for_it_gets_patches_as_bytes_and_the_schema_to_read_them(stage: Stage) -> None:
    compact, plain = stage.client(), stage.client()
    told = compact.join_game(stage.backend, "p1", patches="binary")[4]["response"]
    assert told["schema"] == [["ships", ["x", "y"]]] and "state" in told
    assert "schema" not in plain.join_game(stage.backend, "p2")[4]["response"]
    stage.hub.deliver_patch(DeliverPatch(1, 11, [("ships", "p1", {"x": 5.0}), ("ships", "p2", None)]))
    assert bytes_heard(compact) == [
        b"\x02\x04\x05gamepatch" + bytes.fromhex("010b 0002 02 7031 06 05 11 32 01".replace(" ", ""))
    ]
    assert [frame[4]["ops"] for frame in plain.hear()] == [[["ships", "p1", {"x": 5.0}], ["ships", "p2", None]]]


def test_events_states_and_what_the_schema_lacks_come_as_json_to_everyone(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend, patches="binary")
    stage.hub.deliver_patch(DeliverPatch(1, 11, [("planets", "p1", {"of a later version": 1})]))
    stage.hub.deliver(Deliver("game", "boom", b"{}"))
    stage.hub.deliver_state(DeliverState(1, 12))
    assert [(frame[3], frame[4].get("seq")) for frame in client.hear()] == [
        ("patch", 11),
        ("boom", None),
        ("state", 12),
    ]


def test_a_v1_client_gets_json_whatever_it_asks_for(stage: Stage) -> None:
    old = stage.client(Vsn.V1)
    frame = {"topic": "game", "event": "phx_join", "ref": 1, "payload": {"player": "old", "patches": "binary"}}
    stage.hub.received(old.connection, json.dumps(frame).encode())
    stage.hub.answer(Answer(stage.backend.last_request, True, {"player": "old", "stay": "s"}, join=True))
    assert "schema" not in old.hear()[0]["payload"]["response"]
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    assert [frame["payload"]["seq"] for frame in old.hear()] == [11]


def test_patches_as_bytes_end_with_the_join(stage: Stage) -> None:
    client = stage.client()
    stage.backend.at = Position(1, 12)
    client.join_game(stage.backend, patches="binary")
    for seq in (11, 12, 13):
        stage.hub.deliver_patch(DeliverPatch(1, seq, []))
    assert bytes_heard(client) == [b"\x02\x04\x05gamepatch\x01\x0d"]
    client.say("g", "2", "game", "phx_leave", {})
    stage.hub.deliver_patch(DeliverPatch(1, 14, []))
    assert client.hear() == [] and not stage.hub._topics.has("game")
    client.join_game(stage.backend)
    stage.hub.deliver_patch(DeliverPatch(1, 15, []))
    assert [frame[4]["seq"] for frame in client.hear()] == [15]


# --- limits and bad manners


@pytest.mark.parametrize("frame", ["", "x", "[]", '{"topic":1}', "[" * 10_000, '["1","1","game","phx_join",[]]'])
def test_a_malformed_frame_ends_its_own_socket_only_and_not_with_1000(stage: Stage, frame: str) -> None:
    client, other = stage.client(), stage.client()
    client.join_game(stage.backend)
    stage.hub.received(client.connection, frame)
    assert client.socket.closed is not None
    code, reason = client.socket.closed
    assert code == 1007 and "frame" in reason
    assert len(stage.backend.of(PlayerLeft)) == 1
    stage.hub.received(client.connection, '[null,"1","phoenix","heartbeat",{}]')
    stage.hub.disconnected(client.connection)
    assert client.hear() == [] and len(stage.hub) == 1
    assert other.say(None, "1", "phoenix", "heartbeat", {})[0][4]["status"] == "ok"


def test_a_client_that_sends_too_much_is_refused_until_it_has_slowed_down() -> None:
    stage = Stage(limit_messages_per_second=5)
    client, other = stage.client(), stage.client()
    client.join_game(stage.backend)
    answers = [client.say("g", n, "game", "move", {}) for n in range(12)]
    refused = [answer[0] for answer in answers if answer]
    assert len(refused) == 3  # the burst is 10, of which the join took one
    assert refused[0] == error(9, "game", {"reason": "rate limited"})  # type: ignore[arg-type]
    assert other.say(None, "1", "phoenix", "heartbeat", {})[0][4]["status"] == "ok"
    assert [frame[3] for frame in client.say("g", "l", "game", "phx_leave", {})] == ["phx_reply", "phx_close"]
    stage.clock.now += 1
    answers = [client.say("g", n, "phoenix", "heartbeat", {})[0][4]["status"] for n in range(6)]
    assert answers == ["ok"] * 5 + ["error"]


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_client_that_does_not_read_is_dropped_and_costs_the_others_nothing(stage: Stage, size: int) -> None:
    lazy, healthy = stage.client(), stage.client()
    for number, client in enumerate((lazy, healthy)):
        client.say("r", "r", "room:1", "phx_join", {})
        client.join_game(stage.backend, f"p{number}")
    lazy.connection.full()
    payload = json.dumps({"text": "x" * size}).encode()
    sent = 0
    while not lazy.socket.aborted:
        stage.hub.deliver(Deliver("room:1", "news", payload))
        healthy.hear()
        sent += 1
        assert sent * len(payload) < 2 * MAX_BYTES and sent < 2 * MAX_FRAMES
    assert len(stage.hub) == 1
    assert [left.player for left in stage.backend.of(PlayerLeft)] == ["p0"]
    assert stage.metric("gamecluster_slow_consumers_dropped_total") == 1
    stage.hub.deliver(Deliver("room:1", "news", b"{}"))
    assert len(healthy.hear()) == 1


def test_a_client_that_was_behind_gets_everything_in_order(stage: Stage) -> None:
    client = stage.client()
    client.say("r", "r", "room:1", "phx_join", {})
    client.connection.full()
    for number in range(100):
        stage.hub.deliver(Deliver("room:1", "news", str(number).encode()))
        stage.clock.turn()
    assert client.hear() == []
    client.connection.writable()
    stage.hub.deliver(Deliver("room:1", "news", b"100"))
    assert [frame[4] for frame in client.hear()] == list(range(101))


def test_of_the_game_a_client_that_was_behind_gets_what_it_missed_as_one_patch(stage: Stage) -> None:
    client, healthy = stage.client(), stage.client()
    client.join_game(stage.backend, "p1")
    healthy.join_game(stage.backend, "p2")
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    assert [frame[4]["seq"] for frame in client.hear()] == [11]
    client.connection.full()
    for seq in range(12, 112):
        stage.hub.deliver_patch(DeliverPatch(1, seq, [("ships", "p2", {"x": seq})]))
        assert [frame[4]["seq"] for frame in healthy.hear()] == ([11, 12] if seq == 12 else [seq])
    stage.hub.deliver(Deliver("game", "boom", b"{}"))
    stage.backend.at = Position(1, 112)  # of which the patch is still to come
    stage.backend.known[Position(1, 11)] = [("ships", "p2", {"x": 112})]
    assert client.hear() == []
    client.connection.writable()
    stage.hub.deliver_patch(DeliverPatch(1, 112, [("ships", "p2", {"x": 112})]))
    stage.hub.deliver_patch(DeliverPatch(1, 113, []))
    told = client.hear()
    assert [(frame[3], frame[4].get("seq")) for frame in told] == [("boom", None), ("patch", 112), ("patch", 113)]
    assert told[1][4]["ops"] == [["ships", "p2", {"x": 112}]] and told[1][:2] == ["g", None]


def test_a_client_whose_buffers_are_full_again_is_still_behind(stage: Stage) -> None:
    client = stage.client()
    client.say("r", "r", "room:1", "phx_join", {})
    client.join_game(stage.backend)
    client.connection.full()
    stage.hub.deliver(Deliver("room:1", "news", b"{}"))
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    stage.clock.turn()
    write, outbox = client.connection.outbox.write, client.connection.outbox
    outbox.write = lambda data: (write(data), client.connection.full())  # type: ignore[func-returns-value]
    client.connection.writable()
    assert [frame[3] for frame in client.hear()] == ["news"]
    stage.hub.deliver_patch(DeliverPatch(1, 12, []))
    stage.clock.turn()
    stage.backend.at = Position(1, 12)
    stage.backend.known[Position(1, 10)] = [("ships", "p2", {"x": 12})]
    outbox.write = write
    client.connection.writable()
    assert [(frame[3], frame[4]["seq"]) for frame in client.hear()] == [("patch", 12)]


def test_if_what_it_missed_is_not_known_any_more_it_gets_the_state(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    client.connection.full()
    stage.hub.deliver_state(DeliverState(2, 40))
    stage.backend.at, stage.backend.tables = Position(2, 40), {"ships": {"p9": {"x": 1}}}
    client.connection.writable()
    [told] = client.hear()
    assert told[2:] == ["game", "state", {"epoch": 2, "seq": 40, "state": {"ships": {"p9": {"x": 1}}}}]
    client.connection.full()
    client.connection.writable()
    assert client.hear() == []


def test_who_was_behind_and_has_left_the_game_gets_nothing_of_it(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    client.connection.full()
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    client.say("g", "9", "game", "phx_leave", {})
    client.connection.writable()
    assert [frame[3] for frame in client.hear()] == ["phx_reply", "phx_close"]


def test_a_burst_in_one_turn_does_not_drop_a_client_that_reads(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    for seq in range(MAX_FRAMES + 100):
        stage.hub.deliver_patch(DeliverPatch(2, seq, []))
    assert len(client.hear()) == MAX_FRAMES + 100


def test_a_silent_client_is_closed_after_sixty_seconds_but_not_one_that_pings(stage: Stage) -> None:
    silent, pinging = stage.client(), stage.client()
    stage.clock.now += 59
    stage.hub.sweep()
    pinging.socket.heard_at = stage.clock.now
    stage.clock.now += 2
    stage.hub.sweep()
    assert silent.socket.closed is not None and silent.socket.closed[0] == 1001
    assert pinging.socket.closed is None


def test_the_node_hears_how_many_there_are_when_it_changes(stage: Stage) -> None:
    client = stage.client()
    stage.client()
    stage.hub.sweep()
    stage.hub.sweep()
    stage.hub.disconnected(client.connection)
    stage.hub.sweep()
    assert stage.backend.of(ConnectionsCounted) == [ConnectionsCounted(2), ConnectionsCounted(1)]


def test_at_the_end_everyone_is_sent_elsewhere_with_1012(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend)
    stage.hub.turn_away("going")
    assert stage.hub.is_closing and client.socket.closed is None
    stage.hub.close_all()
    assert client.socket.closed == (1012, "going")
    assert stage.client().socket.closed == (1012, "going")
    assert len(stage.hub) == 0
    assert stage.backend.of(PlayerLeft) == [PlayerLeft(client.connection.number, "p1", wanted=False)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
def test_frames_have_the_right_header(size: int) -> None:
    data = json.dumps("x" * max(size - 2, 0)).encode()
    assert payload_of(text_frame(data)) == json.loads(data)
    assert binary_frame(data) == b"\x82" + text_frame(data)[1:]


frames = st.one_of(
    st.text(max_size=20),
    st.tuples(
        st.sampled_from([None, "1", "2", 3]),
        st.integers(0, 3),
        st.sampled_from(["game", "room:1", "room:2", "room:", "phoenix", "lobby"]),
        st.sampled_from(["phx_join", "phx_leave", "heartbeat", "move", "shout", "whisper", "crash", "phx_reply"]),
        st.dictionaries(
            st.sampled_from(["player", "token", "nonce", "n", "name", "to", "x", "epoch", "seq"]),
            st.one_of(st.none(), st.text(max_size=4), st.integers(), st.lists(st.integers(), max_size=2)),
            max_size=3,
        ),
    ).map(lambda frame: json.dumps(frame)),
)
happenings = st.one_of(
    st.tuples(st.just("says"), st.integers(0, 2), frames),
    st.tuples(st.sampled_from(["answers", "refuses", "forgets"]), st.integers(0, 5), st.none()),
    st.tuples(st.sampled_from(["loses", "stops reading", "replaces", "broadcasts"]), st.integers(0, 2), st.none()),
)


@hypothesis.settings(max_examples=150, deadline=None)
@given(st.lists(happenings, max_size=60))
def test_whatever_clients_do_the_hub_goes_on_and_keeps_nothing_of_those_who_left(script: list[Any]) -> None:
    stage = Stage(limit_messages_per_second=20)
    clients = [stage.client() for _ in range(3)]
    for what, index, frame in script:
        asked = [e for e in stage.backend.events if isinstance(e, (PlayerJoined, PlayerMoved))]
        match what:
            case "says":
                stage.hub.received(clients[index].connection, frame.encode())
            case "answers" | "refuses" if index < len(asked):
                request = asked[index]
                is_join = what == "answers" and isinstance(request, PlayerJoined)
                response = {"stay": "s"} if is_join else {"reason": "no"}
                stage.hub.answer(Answer(request.request, what == "answers", response, join=is_join))
            case "loses":
                stage.hub.disconnected(clients[index].connection)
            case "stops reading":
                clients[index].connection.full()
            case "replaces":
                for player in list(clients[index].connection.players.values()):
                    stage.hub.replace(Replace(clients[index].connection.number, player))
            case "broadcasts":
                stage.hub.deliver(Deliver("room:1", "news", b'"' + b"x" * 400_000 + b'"'))
                stage.hub.deliver_patch(DeliverPatch(1, 11 + index, []))
        stage.clock.turn()
    for client in clients:
        stage.hub.disconnected(client.connection)
        assert not client.connection.players and not client.connection.channels
    assert len(stage.hub) == 0
    assert not any(stage.hub._topics.has(topic) for topic in ("game", "room:1", "room:2"))
    joined = {(e.connection, e.player) for e in stage.backend.of(PlayerJoined)}
    assert {(e.connection, e.player) for e in stage.backend.of(PlayerLeft)} <= joined
