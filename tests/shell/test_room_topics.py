"""Topics ``game:<id>``: each room's clients get what is the room's, and only as long as somebody is there is anything kept for it."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shell.fakes import FakeBackend, FakeClient, FakeGame
from tests.shell.test_clients import Stage, bytes_heard, error

from gamecluster.core.effects import Answer, Deliver, DeliverPatch, DeliverState, EndRoom, Replace
from gamecluster.core.events import PlayerJoined, PlayerLeft, PlayerMoved
from gamecluster.core.messages import Entry, Op, Position
from gamecluster.core.replication import Log
from gamecluster.game import Entity, Table
from gamecluster.phoenix.codec import Vsn
from gamecluster.room import Room
from gamecluster.shell.outbox import MAX_BYTES
from gamecluster.shell.resume import missed


class Ship(Entity):
    x: float = 0.0
    y: float = 0.0


class Door(Entity):
    is_open: bool = False


class Duel(Room):
    rooms = "duel-*"
    patch_rate = 0
    ships: Table[Ship]


class Zone(Room):
    rooms = "zone-*"
    patch_rate = 10
    doors: Table[Door]
    ships: Table[Ship]


def make_stage(backend: FakeBackend | None = None, **more: Any) -> Stage:
    return Stage(backend, rooms=[Duel, Zone], **more)


@pytest.fixture
def stage() -> Stage:
    return make_stage()


def pushed(client: FakeClient) -> list[tuple[str, str, Any]]:
    """Topic, event and position (or payload) of what it has heard."""
    return [(topic, event, payload.get("seq", payload)) for _, _, topic, event, payload in client.hear()]


# --- joining


def test_a_join_of_a_room_is_asked_with_its_id_and_answered_with_its_state(stage: Stage) -> None:
    client = stage.client()
    stage.backend.room("duel-1").at = Position(3, 7)
    stage.backend.room("duel-1").tables = {"ships": {"p1": {"x": 1.0}}}
    client.ask_room("duel-1", "p1", nonce="once")
    [asked] = stage.backend.of(PlayerJoined)
    assert (asked.room, asked.player, asked.stay, asked.nonce) == ("duel-1", "p1", None, "once")
    stage.hub.answer(Answer(asked.request, True, {"stay": "s7", "n": 4, "resumed": False}, join=True))
    [[_, _, topic, event, payload]] = client.hear()
    assert (topic, event, payload["status"]) == ("game:duel-1", "phx_reply", "ok")
    assert stage.tokens.verify(payload["response"].pop("token")) == ("p1", "s7")
    state = {"ships": {"p1": {"x": 1.0}}}
    assert payload["response"] == {"player": "p1", "n": 4, "resumed": False, "epoch": 3, "seq": 7, "state": state}


def test_several_rooms_and_the_game_over_one_connection_perhaps_as_different_players(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend, "p1")
    client.join_room(stage.backend, "duel-1", "p2")
    client.join_room(stage.backend, "zone-town", "p3")
    assert sorted(stage.hub.rooms) == ["duel-1", "zone-town"]
    client.say("g", "1", "game", "move", {"n": 1})
    client.say("duel-1", "2", "game:duel-1", "shoot", {})
    client.say("zone-town", "3", "game:zone-town", "walk", {})
    moves = stage.backend.of(PlayerMoved)
    assert [(m.room, m.player, m.event) for m in moves] == [
        ("", "p1", "move"),
        ("duel-1", "p2", "shoot"),
        ("zone-town", "p3", "walk"),
    ]
    for move in reversed(moves):
        stage.hub.answer(Answer(move.request, True, {"by": move.player}))
    assert [(f[1], f[2], f[4]["response"]) for f in client.hear()] == [
        ("3", "game:zone-town", {"by": "p3"}),
        ("2", "game:duel-1", {"by": "p2"}),
        ("1", "game", {"by": "p1"}),
    ]
    requests = [e.request for e in stage.backend.events if isinstance(e, PlayerJoined | PlayerMoved)]
    assert len(set(requests)) == 6 and min(requests) > 0


@pytest.mark.parametrize("room", ["elsewhere", "", "duel-" + "x" * 96, "duel-ü", "duel-1\n", "duel- 1"], ids=ascii)
def test_what_no_class_serves_is_no_topic(stage: Stage, room: str) -> None:
    assert stage.client().say("r", "1", f"game:{room}", "phx_join", {"player": "p"}) == [
        [None, "1", f"game:{room}", "phx_reply", {"status": "error", "response": {"reason": "unmatched topic"}}]
    ]
    assert stage.backend.events == [] and stage.hub.rooms == []


def test_without_classes_there_are_no_rooms() -> None:
    stage = Stage()
    [[*_, answer]] = stage.client().say("r", "1", "game:duel-1", "phx_join", {"player": "p"})
    assert answer["response"] == {"reason": "unmatched topic"}


def test_a_move_before_the_join_of_its_room_is_unmatched_though_others_are_there(stage: Stage) -> None:
    stage.client().join_room(stage.backend, "duel-1")
    client = stage.client()
    client.join_game(stage.backend, "p2")
    [[*_, answer]] = client.say("r", "1", "game:duel-1", "shoot", {})
    assert answer["response"] == {"reason": "unmatched topic"} and stage.backend.of(PlayerMoved) == []


def test_a_token_of_the_game_or_of_a_room_brings_its_stay_to_any_room(stage: Stage) -> None:
    token = stage.client().join_game(stage.backend, "p1")[4]["response"]["token"]
    client = stage.client(token=token)
    other = client.join_room(stage.backend, "duel-1", None)[4]["response"]["token"]
    client.ask_room("zone-town", None, token=other)
    assert [(j.room, j.player, j.stay) for j in stage.backend.of(PlayerJoined)[1:]] == [
        ("duel-1", "p1", "s1"),
        ("zone-town", "p1", "s1"),
    ]


def test_a_name_alone_that_is_anothers_in_the_game_is_refused_in_a_room(stage: Stage) -> None:
    stage.backend.tables["$players"] = {"p1": {"stay": "s1"}}
    client = stage.client()
    [[*_, answer]] = client.say("r", "r", "game:duel-1", "phx_join", {"player": "p1"})
    assert answer["response"]["reason"] == "player taken" and "token" in answer["response"]["detail"]
    assert stage.backend.events == [] and stage.hub.rooms == []
    client.join_room(stage.backend, "duel-1", "p1", token=stage.tokens.sign("p1", "s1"))
    client.join_room(stage.backend, "zone-town", "p2")


@pytest.mark.parametrize(
    ("player", "stay", "reason"),
    [("ann", None, "token needed"), ("eve", None, "token needed"), ("eve", "s1", "not invited"), ("ann", "s1", None)],
)
def test_a_room_for_some_is_for_them_alone(stage: Stage, player: str, stay: str | None, reason: str | None) -> None:
    stage.backend.tables["$rooms"] = {"duel-1": {"players": ["ann", "bob"]}, "duel-2": {"players": []}}
    client = stage.client()
    token = {"token": stage.tokens.sign(player, stay)} if stay else {}
    told = client.say("r", "r", "game:duel-1", "phx_join", {"player": player, **token})
    if reason is None:
        assert told == [] and stage.backend.of(PlayerJoined)[0].room == "duel-1"
    else:
        [[*_, answer]] = told
        assert answer["status"] == "error" and answer["response"]["reason"] == reason and answer["response"]["detail"]
        assert stage.backend.events == [] and stage.hub.rooms == []
    client.join_room(stage.backend, "duel-2", player, **token)


def test_a_token_of_an_earlier_stay_lets_nobody_into_a_room_for_some(stage: Stage) -> None:
    stage.backend.tables["$rooms"] = {"duel-1": {"players": ["ann"]}}
    stage.backend.tables["$players"] = {"ann": {"stay": "s2"}}
    client = stage.client(token=stage.tokens.sign("ann", "s1"))
    [[*_, answer]] = client.say("r", "r", "game:duel-1", "phx_join", {})
    assert answer["response"]["reason"] == "bad token"
    client.ask_room("duel-1", None, token=stage.tokens.sign("ann", "s2"))
    assert [j.stay for j in stage.backend.of(PlayerJoined)] == ["s2"]


def test_a_client_that_comes_back_to_a_room_gets_what_it_has_missed_of_it(stage: Stage) -> None:
    room = stage.backend.room("duel-1")
    room.at, room.known[Position(2, 4)] = Position(2, 9), [("ships", "p1", {"x": 5.0})]
    stage.backend.known[Position(2, 4)] = []
    client = stage.client()
    response = client.join_room(stage.backend, "duel-1", "p1", epoch=2, seq=4)[4]["response"]
    assert (response["seq"], response["ops"]) == (9, [["ships", "p1", {"x": 5.0}]]) and "state" not in response
    for seq in (8, 9, 10):
        stage.hub.deliver_patch(DeliverPatch(2, seq, [], "duel-1"))
    assert pushed(client) == [("game:duel-1", "patch", 10)]


# --- what a room's clients are told


def test_patches_states_and_events_reach_those_of_their_room_only(stage: Stage) -> None:
    rooms = ["duel-1", "duel-2"]
    one, other, player = stage.client(), stage.client(), stage.client()
    one.join_room(stage.backend, "duel-1", "p1")
    other.join_room(stage.backend, "duel-2", "p2")
    player.join_game(stage.backend, "p3")
    for seq, room in enumerate([*rooms, "", "zone-town"], 11):
        stage.hub.deliver_patch(DeliverPatch(1, seq, [("ships", "a", {"x": seq})], room))
    stage.hub.deliver(Deliver("game:duel-2", "boom", b'{"seq":0}'))
    stage.backend.room("duel-1").tables = {"ships": {"of": {"duel": 1}}}
    stage.backend.room("duel-1").at = Position(1, 20)
    stage.hub.deliver_state(DeliverState(1, 20, "duel-1"))
    [patch, state] = one.hear()
    assert patch == [None, None, "game:duel-1", "patch", {"epoch": 1, "seq": 11, "ops": [["ships", "a", {"x": 11}]]}]
    assert state[2:] == ["game:duel-1", "state", {"epoch": 1, "seq": 20, "state": {"ships": {"of": {"duel": 1}}}}]
    assert pushed(other) == [("game:duel-2", "patch", 12), ("game:duel-2", "boom", 0)]
    assert pushed(player) == [("game", "patch", 13)]


def test_patches_of_a_room_go_out_at_its_own_rate_and_its_events_do_not_overtake_them(stage: Stage) -> None:
    client = stage.client()
    client.join_room(stage.backend, "zone-town")
    client.join_room(stage.backend, "zone-forest", "p2")
    for seq in (11, 12, 13):
        for room in ("zone-town", "zone-forest"):
            stage.hub.deliver_patch(DeliverPatch(1, seq, [], room))
    assert pushed(client) == [("game:zone-town", "patch", 11), ("game:zone-forest", "patch", 11)]
    stage.hub.deliver(Deliver("game:zone-town", "boom", b'{"seq":0}'))
    assert pushed(client) == [("game:zone-town", "patch", 13), ("game:zone-town", "boom", 0)]
    stage.clock.wait(0.1)
    assert pushed(client) == [("game:zone-forest", "patch", 13)]


def test_patches_as_bytes_are_of_the_rooms_own_schema(stage: Stage) -> None:
    client, old = stage.client(), stage.client(Vsn.V1)
    duel = client.join_room(stage.backend, "duel-1", patches="binary")[4]["response"]["schema"]
    town = client.join_room(stage.backend, "zone-town", "p2", patches="binary")[4]["response"]["schema"]
    assert (duel, town) == ([["ships", ["x", "y"]]], [["doors", ["is_open"]], ["ships", ["x", "y"]]])
    stage.hub.deliver_patch(DeliverPatch(1, 11, [("ships", "a", {"x": 1.0})], "duel-1"))
    stage.hub.deliver_patch(DeliverPatch(1, 11, [("ships", "a", {"x": 1.0})], "zone-town"))
    in_duel, in_town = bytes_heard(client)
    assert in_duel == b"\x02\x0b\x05game:duel-1patch" + bytes.fromhex("010b 0001 01 61 06 01".replace(" ", ""))
    assert in_town == b"\x02\x0e\x05game:zone-townpatch" + bytes.fromhex("010b 0101 01 61 06 01".replace(" ", ""))
    frame = {"topic": "game:zone-town", "event": "phx_join", "ref": 1, "payload": {"player": "o", "patches": "binary"}}
    stage.hub.received(old.connection, json.dumps(frame).encode())
    stage.hub.answer(Answer(stage.backend.last_request, True, {"stay": "s"}, join=True))
    assert "schema" not in old.hear()[0]["payload"]["response"]


# --- going, and being replaced


def test_leaving_a_room_leaves_the_others(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend, "p1")
    client.join_room(stage.backend, "duel-1", "p1")
    client.join_room(stage.backend, "duel-2", "p1")
    assert [f[3] for f in client.say("duel-1", "2", "game:duel-1", "phx_leave", {})] == ["phx_reply", "phx_close"]
    number = client.connection.number
    assert stage.backend.of(PlayerLeft) == [PlayerLeft(number, "p1", True, "duel-1")]
    for room in ("", "duel-1", "duel-2"):
        stage.hub.deliver_patch(DeliverPatch(1, 11, [], room))
    assert [topic for topic, *_ in pushed(client)] == ["game", "game:duel-2"] and stage.hub.rooms == ["duel-2"]
    stage.hub.disconnected(client.connection)
    assert stage.backend.of(PlayerLeft)[1:] == [
        PlayerLeft(number, "p1", False),
        PlayerLeft(number, "p1", False, "duel-2"),
    ]
    assert stage.hub.rooms == []


def test_a_player_who_joined_a_room_elsewhere_loses_that_rooms_channel_only(stage: Stage) -> None:
    client = stage.client()
    client.join_game(stage.backend, "p1")
    client.join_room(stage.backend, "duel-1", "p1")
    client.join_room(stage.backend, "duel-2", "p1")
    number = client.connection.number
    for replace in (Replace(number, "p2", "duel-1"), Replace(number, "p1", "zone-town"), Replace(99, "p1", "duel-1")):
        stage.hub.replace(replace)
    assert client.hear() == []
    stage.hub.replace(Replace(number, "p1", "duel-1"))
    assert client.hear() == [["duel-1", "duel-1", "game:duel-1", "phx_close", {}]]
    for room in ("", "duel-1", "duel-2"):
        stage.hub.deliver_patch(DeliverPatch(1, 11, [], room))
    assert [topic for topic, *_ in pushed(client)] == ["game", "game:duel-2"]
    assert stage.backend.of(PlayerLeft) == [] and stage.hub.rooms == ["duel-2"]


def test_joining_a_room_again_on_one_socket(stage: Stage) -> None:
    client = stage.client()
    client.join_room(stage.backend, "duel-1", "p1")
    client.say("h", "h", "game:duel-1", "phx_join", {"player": "p2"})
    assert stage.hub.rooms == ["duel-1"]
    assert [(left.player, left.room) for left in stage.backend.of(PlayerLeft)] == [("p1", "duel-1")]
    stage.hub.answer(Answer(stage.backend.last_request, True, {"stay": "s2"}, join=True))
    assert [(f[0], f[3]) for f in client.hear()] == [("h", "phx_reply"), ("duel-1", "phx_close")]
    stage.hub.deliver_patch(DeliverPatch(1, 11, [], "duel-1"))
    assert pushed(client) == [("game:duel-1", "patch", 11)]


def test_what_is_kept_for_a_room_goes_with_its_last_client(stage: Stage) -> None:
    one, other = stage.client(), stage.client()
    one.ask_room("zone-town", "p1")
    assert stage.hub.rooms == ["zone-town"], "asked, not answered"
    stage.hub.answer(Answer(stage.backend.last_request, False, {"reason": "player taken"}))
    assert (
        one.hear() == [error("zone-town", "game:zone-town", {"reason": "player taken"}, "zone-town")]
        and stage.hub.rooms == []
    )
    one.join_room(stage.backend, "zone-town", "p1")
    other.join_room(stage.backend, "zone-town", "p2")
    for seq in (11, 12):
        stage.hub.deliver_patch(DeliverPatch(1, seq, [], "zone-town"))
    stage.hub.disconnected(one.connection)
    assert stage.hub.rooms == ["zone-town"] and len(stage.clock.timers) == 1
    other.say("zone-town", "9", "game:zone-town", "phx_leave", {})
    assert stage.hub.rooms == [] and stage.clock.timers == []


def test_an_answer_to_who_has_left_the_room_goes_nowhere_though_others_have_come(stage: Stage) -> None:
    gone, client = stage.client(), stage.client()
    gone.ask_room("duel-1", "p1")
    late = stage.backend.last_request
    gone.say("duel-1", "2", "game:duel-1", "phx_leave", {})
    client.join_room(stage.backend, "duel-1", "p2")
    gone.ask_room("duel-1", "p3")
    stage.hub.answer(Answer(late, True, {"stay": "s"}, join=True))
    assert [f[3] for f in gone.hear()] == []
    stage.hub.answer(Answer(stage.backend.last_request, True, {"stay": "s"}, join=True))
    assert [f[4]["response"]["player"] for f in gone.hear()] == ["p3"]
    stage.hub.deliver_patch(DeliverPatch(1, 11, [], "duel-1"))
    assert pushed(gone) == pushed(client) == [("game:duel-1", "patch", 11)]


def test_unanswered_moves_are_bounded_over_all_rooms_of_a_client() -> None:
    stage = make_stage(limit_messages_per_second=10_000)
    client = stage.client()
    client.join_game(stage.backend)
    client.join_room(stage.backend, "duel-1")
    for n in range(500):
        assert client.say("g", n, "game", "move", {}) == []
        assert client.say("duel-1", n, "game:duel-1", "move", {}) == []
    assert client.say("duel-1", "x", "game:duel-1", "move", {}) == [
        error("x", "game:duel-1", {"reason": "overloaded"}, "duel-1")
    ]
    assert client.say("g", "x", "game", "move", {}) == [error("x", "game", {"reason": "overloaded"})]


# --- the end of a room


def test_a_room_that_ends_says_so_and_closes_its_topic(stage: Stage) -> None:
    clients = [stage.client() for _ in range(2)]
    for number, client in enumerate(clients):
        client.join_game(stage.backend, f"p{number}")
        client.join_room(stage.backend, "zone-town", f"p{number}")
    for seq in (11, 12):
        stage.hub.deliver_patch(DeliverPatch(1, seq, [], "zone-town"))
    stage.hub.end_room(EndRoom("zone-town"))
    stage.hub.end_room(EndRoom("never there"))
    for client in clients:
        told = client.hear()
        assert [(frame[0], frame[3]) for frame in told] == [
            (None, "patch"),
            (None, "patch"),
            (None, "ended"),
            ("zone-town", "phx_close"),
        ]
        assert {frame[2] for frame in told} == {"game:zone-town"} and told[2][4] == {}
        [[*_, answer]] = client.say("zone-town", "3", "game:zone-town", "walk", {})
        assert answer["response"] == {"reason": "unmatched topic"}
    assert stage.hub.rooms == [] and stage.backend.of(PlayerLeft) == [] and stage.clock.timers == []
    stage.hub.disconnected(clients[0].connection)
    assert stage.backend.of(PlayerLeft) == [PlayerLeft(clients[0].connection.number, "p0", False)]
    clients[1].join_room(stage.backend, "zone-town", "p1")
    assert stage.hub.rooms == ["zone-town"]


def test_who_has_only_asked_to_join_a_room_that_ends_is_answered_by_the_node(stage: Stage) -> None:
    inside, late = stage.client(), stage.client()
    inside.join_room(stage.backend, "duel-1", "p1")
    late.ask_room("duel-1", "p2")
    asked = stage.backend.last_request
    stage.hub.end_room(EndRoom("duel-1"))
    assert [f[3] for f in inside.hear()] == ["ended", "phx_close"] and late.hear() == []
    stage.hub.answer(Answer(asked, False, {"reason": "room ended"}))
    assert late.hear() == [error("duel-1", "game:duel-1", {"reason": "room ended"}, "duel-1")]
    assert stage.hub.rooms == []


# --- clients that do not read


def test_of_each_room_a_client_that_was_behind_gets_what_it_missed(stage: Stage) -> None:
    client, healthy = stage.client(), stage.client()
    client.join_game(stage.backend, "p1")
    for each, player in ((client, "p1"), (healthy, "p2")):
        each.join_room(stage.backend, "duel-1", player)
        each.join_room(stage.backend, "duel-2", player)
    stage.hub.deliver_patch(DeliverPatch(1, 11, [], "duel-1"))
    assert pushed(client) == [("game:duel-1", "patch", 11)] == pushed(healthy)
    client.connection.full()
    for seq in range(12, 30):
        stage.hub.deliver_patch(DeliverPatch(1, seq, [], "duel-1"))
        assert pushed(healthy) == [("game:duel-1", "patch", seq)]
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    stage.hub.deliver(Deliver("game:duel-2", "boom", b"{}"))
    stage.backend.at, stage.backend.known[Position(1, 10)] = Position(1, 11), [("ships", "p2", {"x": 1})]
    duel = stage.backend.room("duel-1")
    duel.at, duel.known[Position(1, 11)] = Position(1, 29), [("ships", "p2", {"x": 29})]
    client.connection.writable()
    boom, *told = client.hear()
    assert boom[2:4] == ["game:duel-2", "boom"]
    assert sorted((frame[0], frame[2], frame[4]["seq"], frame[4]["ops"][0][2]["x"]) for frame in told) == [
        ("duel-1", "game:duel-1", 29, 29),
        ("g", "game", 11, 1),
    ]
    stage.hub.deliver_patch(DeliverPatch(1, 29, [], "duel-1"))
    stage.hub.deliver_patch(DeliverPatch(1, 30, [], "duel-1"))
    assert pushed(client) == [("game:duel-1", "patch", 30)]


def test_who_joins_a_room_while_it_does_not_read_is_behind_from_there(stage: Stage) -> None:
    client = stage.client()
    client.connection.full()
    client.ask_room("duel-1")
    stage.hub.deliver_patch(DeliverPatch(1, 9, [], "duel-1"))
    stage.hub.answer(Answer(stage.backend.last_request, True, {"stay": "s"}, join=True))
    stage.hub.deliver_patch(DeliverPatch(1, 11, [], "duel-1"))
    room = stage.backend.room("duel-1")
    room.at, room.known[Position(1, 10)] = Position(1, 11), []
    client.connection.writable()
    assert [(f[3], f[4].get("seq")) for f in client.hear()] == [("phx_reply", None), ("patch", 11)]


@pytest.mark.parametrize("how", ["leaves", "is replaced", "ends"])
def test_who_was_behind_and_is_not_in_the_room_any_more_gets_nothing_of_it(stage: Stage, how: str) -> None:
    client = stage.client()
    client.join_room(stage.backend, "duel-1")
    client.connection.full()
    stage.hub.deliver_patch(DeliverPatch(1, 11, [], "duel-1"))
    match how:
        case "leaves":
            client.say("duel-1", "9", "game:duel-1", "phx_leave", {})
        case "is replaced":
            stage.hub.replace(Replace(client.connection.number, "p1", "duel-1"))
        case "ends":
            stage.hub.end_room(EndRoom("duel-1"))
    client.connection.writable()
    events = [frame[3] for frame in client.hear()]
    assert events[-1] == "phx_close" and "patch" not in events and "state" not in events
    assert stage.hub.rooms == []


def test_a_client_that_never_reads_is_dropped_from_all_its_rooms_and_costs_the_others_nothing(stage: Stage) -> None:
    lazy, healthy = stage.client(), stage.client()
    for client, player in ((lazy, "p1"), (healthy, "p2")):
        client.join_room(stage.backend, "duel-1", player)
        client.join_room(stage.backend, "duel-2", player)
    lazy.join_room(stage.backend, "zone-town", "p1")
    lazy.connection.full()
    for _ in range(2 * MAX_BYTES // 100_000):
        stage.hub.deliver(Deliver("game:duel-1", "news", b'"' + b"x" * 100_000 + b'"'))
        assert len(healthy.hear()) == 1
    assert lazy.socket.aborted and len(stage.hub) == 1 and sorted(stage.hub.rooms) == ["duel-1", "duel-2"]
    assert sorted(left.room for left in stage.backend.of(PlayerLeft)) == ["duel-1", "duel-2", "zone-town"]


def test_who_joins_anew_while_behind_is_told_nothing_before_the_joins_answer(stage: Stage) -> None:
    client, other = stage.client(), stage.client()
    for each, player in ((client, "p1"), (other, "p2")):
        each.join_room(stage.backend, "duel-1", player)
    client.connection.full()
    stage.hub.deliver_patch(DeliverPatch(1, 11, [], "duel-1"))
    client.ask_room("duel-1", "p1")
    client.connection.writable()
    assert client.hear() == []
    stage.backend.room("duel-1").at = Position(1, 11)
    stage.hub.answer(Answer(stage.backend.last_request, True, {"stay": "s"}, join=True))
    assert [frame[3] for frame in client.hear()] == ["phx_reply", "phx_close"]


def test_who_is_dropped_while_it_catches_up_is_told_no_more(stage: Stage) -> None:
    client, other = stage.client(), stage.client()
    rooms = [f"duel-{number}" for number in range(5)]
    for room in rooms:
        client.join_room(stage.backend, room, "p1")
        other.join_room(stage.backend, room, "p2")
    client.connection.full()
    for room in rooms:
        stage.hub.deliver_patch(DeliverPatch(1, 11, [], room))
        stage.backend.room(room).at = Position(1, 11)
        stage.backend.room(room).tables = {"ships": {"p1": {"x": "x" * (MAX_BYTES // 2)}}}
    other.hear()
    outbox = client.connection.outbox
    outbox.write = lambda data: client.connection.full()
    client.connection.writable()
    assert client.socket.aborted and len(stage.hub) == 1 and sorted(stage.hub.rooms) == rooms
    assert sorted(left.room for left in stage.backend.of(PlayerLeft)) == rooms
    for room in rooms:
        stage.hub.deliver_patch(DeliverPatch(1, 12, [], room))
    assert [frame[4]["seq"] for frame in other.hear()] == [12] * 5


# --- moving on


def test_who_is_to_go_on_in_another_room_is_told_where_it_is() -> None:
    stage = make_stage(url_of={"zone-town": "ws://arena-2/socket"}.get)
    ann, bob = stage.client(), stage.client()
    stage.backend.tables["$players"] = {"ann": {"stay": "s1"}}
    ann.join_room(stage.backend, "duel-1", "ann", token=(token := stage.tokens.sign("ann", "s1")))
    bob.join_room(stage.backend, "duel-1", "bob")
    [[*_, joined]] = ann.say("m", "m", "player:ann", "phx_join", {"token": token})
    assert joined["status"] == "ok"
    for topic in ("player:ann", "game:duel-1"):
        stage.hub.deliver(Deliver(topic, "match.migrate", b'{"player":"ann","topic":"game:zone-town"}'))
    expected = {"player": "ann", "topic": "game:zone-town", "url": "ws://arena-2/socket"}
    assert [frame[2:] for frame in ann.hear()] == [
        [t, "match.migrate", expected] for t in ("player:ann", "game:duel-1")
    ]
    assert bob.hear() == [], "it is for ann"
    stage.hub.deliver(Deliver("game:duel-1", "match.migrate", b'{"topic":"game:zone-forest"}'))
    assert [c.hear()[0][4] for c in (ann, bob)] == [{"topic": "game:zone-forest", "url": None}] * 2, (
        "all, to no address"
    )


@pytest.mark.parametrize(
    "payload", [b"[]", b"{}", b'{"topic":7}', b'{"topic":"room:1"}', b'{"topic":"game:"}', b'{"a":']
)
def test_a_migration_to_no_room_is_told_as_it_is(payload: bytes) -> None:
    stage = make_stage(url_of=lambda room: "ws://here/socket")
    client = stage.client()
    client.join_room(stage.backend, "duel-1")
    stage.hub.deliver(Deliver("game:duel-1", "match.migrate", payload))
    stage.clock.turn()
    [[frame]] = client.socket.writes
    assert frame.endswith(b',"match.migrate",' + payload + b"]")


def test_what_others_call_a_migration_is_theirs(stage: Stage) -> None:
    client = stage.client()
    client.say("r", "r", "room:1", "phx_join", {})
    client.hear()
    stage.hub.deliver(Deliver("room:1", "match.migrate", b'{"topic":"game:zone-town"}'))
    assert [frame[4] for frame in client.hear()] == [{"topic": "game:zone-town"}]


# --- whatever happens

TOPICS = ["game", "game:duel-1", "game:duel-2", "game:zone-town"]


class Played(FakeGame):
    """With a log, as the node's."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.commit([])

    def commit(self, ops: list[Op]) -> None:
        self.log.append(Entry(1, self.log.last.seq + 1, ops, [], []))
        self.log.commit(self.log.last.seq)
        self.at, self.tables = self.log.committed, self.log.tables

    def missed(self, since: Position) -> list[Op] | None:
        return missed(self.log, since, self.log.tables)


class PlayedBackend(FakeBackend):
    """With a log for each topic."""

    def __init__(self) -> None:
        super().__init__()
        self.games = {topic: Played() for topic in TOPICS}
        self.tables = {}

    def room(self, room: str) -> FakeGame:
        return self.games[f"game:{room}"]

    def position(self) -> Position:
        return self.games["game"].at

    def visible_tables(self) -> Any:
        return self.games["game"].tables

    def missed(self, since: Position) -> list[Op] | None:
        return self.games["game"].missed(since)


class Copies:
    """What a client has of each topic, by what it was told. It joins again from there."""

    def __init__(self, client: FakeClient, player: str) -> None:
        self.client = client
        self.player = player
        self.rows: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, int] = {}
        self._joins = 0

    def join(self, topic: str) -> None:
        self.listen()
        self._joins += 1
        since = {"epoch": 1, "seq": self.seen[topic]} if topic in self.seen else {}
        self._say(topic, "phx_join", {"player": self.player, **since})

    def leave(self, topic: str) -> None:
        self._say(topic, "phx_leave", {})

    def listen(self) -> None:
        for _, _, topic, event, payload in self.client.hear():
            is_join = event == "phx_reply" and "seq" in payload["response"]
            told = payload["response"] if is_join else payload
            if is_join or event in ("patch", "state"):
                assert is_join or told["seq"] > self.seen[topic], f"{topic}: what it knows already"
                self.seen[topic] = told["seq"]
                if "state" in told:
                    self.rows[topic] = dict(told["state"].get("ships", {}))
                for _, key, fields in told.get("ops", ()):
                    self.rows[topic][key] = self.rows[topic].get(key, {}) | fields

    def _say(self, topic: str, event: str, payload: Any) -> None:
        frame = [str(self._joins), str(self._joins), topic, event, payload]
        self.client.hub.received(self.client.connection, json.dumps(frame))


steps = st.one_of(
    st.tuples(
        st.sampled_from(["joins", "leaves", "ends", "is replaced", "commits", "commits", "state"]),
        st.integers(0, 2),
        st.sampled_from(TOPICS),
    ),
    st.tuples(
        st.sampled_from(["stops reading", "reads", "waits", "answers", "refuses"]), st.integers(0, 2), st.just("")
    ),
)


@hypothesis.settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=60))
def test_whatever_happens_copies_of_each_topic_are_true_and_nothing_is_kept_of_rooms_without_clients(
    script: list[tuple[str, int, str]],
) -> None:
    backend = PlayedBackend()
    stage = make_stage(backend, limit_messages_per_second=10_000)
    clients = [stage.client() for _ in range(3)]
    copies = [Copies(client, f"p{index}") for index, client in enumerate(clients)]
    answered = 0
    for what, index, topic in script:
        client, room = clients[index], topic.removeprefix("game").removeprefix(":")
        asked = [e for e in backend.events if isinstance(e, PlayerJoined)]
        match what:
            case "joins":
                copies[index].join(topic)
            case "leaves":
                copies[index].leave(topic)
            case "ends" if room:
                stage.hub.end_room(EndRoom(room))
            case "is replaced":
                stage.hub.replace(Replace(client.connection.number, f"p{index}", room))
            case "commits":
                game = backend.games[topic]
                ops: list[Op] = [("ships", f"p{index}", {"x": game.at.seq})]
                game.commit(ops)
                stage.hub.deliver_patch(DeliverPatch(1, game.at.seq, ops, room))
            case "state":
                game = backend.games[topic]
                game.commit([("ships", f"p{index}", {"y": game.at.seq})])
                stage.hub.deliver_state(DeliverState(1, game.at.seq, room))
            case "stops reading":
                client.connection.full()
            case "reads":
                client.connection.writable()
            case "waits":
                stage.clock.wait(0.06)
            case "answers" | "refuses" if answered < len(asked):
                response = {"stay": "s", "resumed": True} if what == "answers" else {"reason": "no"}
                stage.hub.answer(Answer(asked[answered].request, what == "answers", response, join=what == "answers"))
                answered += 1
        stage.clock.turn()
        on = {t for c in clients for t in c.connection.session._by_topic}
        assert {f"game:{room}" for room in stage.hub.rooms} == on - {"game"}
    for client in clients:
        client.connection.writable()
    stage.clock.wait(0.2)
    for copy in copies:
        copy.listen()
        joined = [c.topic for c in copy.client.connection.session._by_topic.values() if c.is_joined]
        assert {t: copy.rows[t] for t in joined} == {t: backend.games[t].tables.get("ships", {}) for t in joined}
    for client in clients:
        client.connection.full()
        stage.hub.disconnected(client.connection)
        assert not client.connection.players
    assert stage.hub.rooms == [] and not any(stage.hub.has(topic) for topic in TOPICS) and stage.clock.timers == []
    assert not stage.hub._games._shared.blocked and not stage.hub._topics._since
