"""Rooms as a developer has them: what is declared, what rules can do, and what each mistake is told."""

from __future__ import annotations

import gc
import random
import tracemalloc
from typing import Any

import pytest

from gamecluster import Entity, Game, Player, Rejected, Room, Singleton, Table, on, received
from gamecluster.core.messages import Broadcast, Fields
from gamecluster.game import DefinitionError, Runtime
from gamecluster.room import make_room
from gamecluster.runtime import RoomRuntime
from gamecluster.testing import Letter, play, world


class Body(Entity):
    hearts: int = 3


class Zone(Room):
    rooms = "zone-*"
    declared = ("zone-town", "zone-wood")
    on_demand = False
    tick_rate = 2
    people: Table[Body]

    def join(self, player: Player) -> None:
        if player.id == "eve":
            raise Rejected("not you")
        if self.room == "zone-town" and player.id not in self.people:
            self.people[player.id] = Body()

    def tick(self, seconds: float) -> None:
        self.broadcast("ticked", {"in": self.room})

    @on("walk")
    def walk(self, player: Player, to: str) -> None:
        body = self.people.pop(player.id)
        self.send(to, "arrive", {"player": player.id, "hearts": body.hearts})
        self.migrate(player.id, to)

    @on("hurt")
    def hurt(self, player: Player, by: int) -> dict[str, int]:
        self.people[player.id].hearts -= by
        return {"hearts": self.people[player.id].hearts}

    @received("arrive")
    def arrive(self, sender: str, player: str, hearts: int) -> None:
        if hearts <= 0:
            raise Rejected("dead")
        self.people[player] = Body(hearts=hearts)
        self.broadcast("arrived", {"player": player, "from": sender})

    def returned(self, room: str, event: str, payload: dict[str, Any]) -> None:
        self.people[payload["player"]] = Body(hearts=payload["hearts"])
        self.migrate(payload["player"], self.room)


class Bank(Singleton):
    name = "bank"
    gold: int = 0

    @on("pay")
    def pay(self, amount: int) -> None:
        if amount > 100:
            raise Rejected("too much")
        self.gold += amount


class Duel(Room):
    rooms = "duel-*"
    copies = 1

    @on("win")
    def win(self, player: Player) -> None:
        for other in self.invited:
            if other != player.id:
                self.cluster.notify(other, {"lost to": player.id})
        board = self.cluster.leaderboard("winners")
        board.add(player.id, 2)
        board.best(player.id, 1)
        self.cluster.leaderboard("last").set(player.id, 7)
        self.cluster.leaderboard("out").set(player.id, 1)
        self.cluster.leaderboard("out").remove(player.id)
        self.cluster.leaderboard("seasons").new_season()
        self.cluster.cache("duels").put(self.room, {"winner": player.id})
        self.cluster.cache("duels").put("other", 1)
        self.cluster.cache("duels").delete("other")
        self.cluster.cache("old").clear()
        self.cluster.stream("chat:duels").append("said", {"body": player.id}, keep=3)
        self.cluster.singleton("bank").call("pay", {"amount": 5})
        self.cluster.singleton("bank:closed").stop()
        self.cluster.names.send("herald", "cry", {"winner": player.id})
        self.end()

    @on("tax")
    def tax(self, player: Player, amount: int) -> None:
        self.cluster.singleton("bank").call("pay", {"amount": amount})

    @on("cheat")
    def cheat(self, player: Player, score: float = 0, board: str = "winners") -> None:
        self.cluster.leaderboard(board).set(player.id, score)

    @received("ping")
    def ping(self, sender: str, payload: Fields) -> None:
        self.send(sender, "ping", payload)


# --- what a rule can do


def test_a_room_knows_its_id_and_talks_on_its_topic() -> None:
    town = play(Zone, room="zone-town")
    town.join("ann")
    town.tick()
    assert town.broadcasts == [Broadcast("game:zone-town", "ticked", {"in": "zone-town"})]
    with pytest.raises(AttributeError, match=r"Zone\.mood can't be assigned"):
        town._runtime._game.mood = 1  # type: ignore[attr-defined]


def test_who_walks_is_sent_by_letter_and_told_where_to_go_on() -> None:
    town = play(Zone, room="zone-town", tables={"people": {"ann": {"hearts": 2}}})
    town.join("ann")
    town.move("ann", "walk", to="zone-wood")
    assert town.letters == [Letter("zone-wood", "arrive", {"player": "ann", "hearts": 2})]
    told = {"player": "ann", "topic": "game:zone-wood"}
    assert town.broadcasts == [Broadcast(topic, "match.migrate", told) for topic in ("player:ann", "game:zone-town")]
    assert town.tables == {"people": {}}
    town.give_back(town.letters[0])
    assert town.tables == {"people": {"ann": {"hearts": 2}}}


def test_what_comes_by_letter_is_checked_as_moves_are() -> None:
    wood = play(Zone, room="zone-wood")
    wood.receive("zone-town", "arrive", player="ann", hearts=2)
    assert wood.tables == {"people": {"ann": {"hearts": 2}}}
    assert wood.broadcasts == [Broadcast("game:zone-wood", "arrived", {"player": "ann", "from": "zone-town"})]
    for payload, detail in ({"player": "ben"}, "hearts: expected int"), ({"player": "ben", "hearts": 1, "x": 2}, "x: "):
        with pytest.raises(Rejected, match=detail):
            wood.receive("zone-town", "arrive", **payload)
    with pytest.raises(Rejected, match="dead"):
        wood.receive("zone-town", "arrive", player="ben", hearts=0)
    with pytest.raises(Rejected, match="unknown event"):
        wood.receive("zone-town", "walk", to="x")
    assert list(wood.tables["people"]) == ["ann"]


def test_a_world_of_zones() -> None:
    mud = world(Zone)
    assert list(mud.rooms) == ["zone-town", "zone-wood"]
    mud.join("zone-town", "ann")
    mud["zone-town"].move("ann", "hurt", by=1)
    mud["zone-town"].move("ann", "walk", to="zone-wood")
    assert (mud["zone-town"].tables["people"], mud["zone-wood"].tables["people"]) == ({}, {"ann": {"hearts": 2}})
    mud.join("zone-wood", "ann")
    mud["zone-wood"].move("ann", "walk", to="zone-moon")
    assert mud["zone-wood"].tables["people"] == {"ann": {"hearts": 2}}, "there is none: it came back"
    assert mud["zone-wood"].broadcasts[-1].payload["topic"] == "game:zone-wood"
    mud["zone-wood"].move("ann", "hurt", by=2)
    mud["zone-wood"].move("ann", "walk", to="zone-town")
    assert mud["zone-wood"].tables["people"] == {"ann": {"hearts": 0}}, "the dead are not let in"
    assert not mud["zone-wood"].undelivered
    with pytest.raises(Rejected, match="unknown room"):
        mud.join("zone-moon", "ann")
    with pytest.raises(KeyError, match="there is no room 'zone-moon'; there are zone-town, zone-wood"):
        mud["zone-moon"]


def test_what_a_room_has_the_cluster_do_is_done_once_it_is_safe() -> None:
    duel = play(Duel, room="duel-1", players=["ann", "ben"], singletons=[Bank])
    with pytest.raises(Rejected, match="not invited"):
        duel.join("eve")
    duel.join("ann")
    duel.move("ann", "win")
    cluster = duel.cluster
    assert cluster.leaderboard("winners").top() == [{"rank": 1, "player": "ann", "score": 2}]
    assert (cluster.leaderboard("last").score("ann"), cluster.leaderboard("out").count()) == (7, 0)
    assert cluster.leaderboard("seasons").season == 2
    assert dict(cluster.cache("duels").items()) == {"duel-1": {"winner": "ann"}}
    assert [line["payload"] for line in cluster.stream("chat:duels").lines()] == [{"body": "ann"}]
    assert cluster.singleton("bank").read() == {"gold": 5}
    assert [notice["body"] for notice in duel.services.ledger.rows("$notices")["ben"].values()] == [{"lost to": "ann"}]
    assert not duel.refusals and duel.has_ended
    assert ("names", "tell", {"name": "herald", "event": "cry", "payload": {"winner": "ann"}}) in duel.calls
    with pytest.raises(Rejected, match="room ended"):
        duel.move("ann", "win")


def test_a_name_is_sent_what_a_room_says() -> None:
    duel = play(Duel, room="duel-1", singletons=[Bank])
    duel.services.call("names", "register", {"name": "herald", "id": "1"}, "test-0_memory_1")  # type: ignore[arg-type]
    duel.join("ann")
    duel.move("ann", "win")
    [told] = [b for b in duel.broadcasts if b.topic == "$names"]
    assert (told.event, told.payload["payload"]) == ("cry", {"winner": "ann"})


def test_what_the_cluster_refuses_is_seen_in_a_test() -> None:
    duel = play(Duel, room="duel-1", singletons=[Bank])
    duel.join("ann")
    duel.move("ann", "tax", amount=101)
    assert duel.refusals == [{"reason": "too much"}]
    for payload, reason in ({"score": 2.0**60}, "bad score"), ({"board": "?"}, "bad name"):
        with pytest.raises(Rejected, match=reason):
            duel.move("ann", "cheat", **payload)
    assert len(duel.calls) == 1, "what can be seen to be wrong is refused at once"


def test_rooms_of_matches_come_and_go() -> None:
    matches = world(Duel, singletons=[Bank])
    matches.open("duel-1", ["ann", "ben"])
    matches["duel-1"].join("ann")
    matches.join("duel-2", "joe")
    matches["duel-1"].move("ann", "win")
    assert list(matches.rooms) == ["duel-2"]
    assert matches["duel-2"].cluster.leaderboard("winners").top()[0]["player"] == "ann"
    with pytest.raises(Rejected, match="unknown room"):
        matches.join("arena-1", "ann")


def test_letters_that_go_round_are_noticed() -> None:
    matches = world(Duel)
    matches.open("duel-1")
    matches.open("duel-2")
    with pytest.raises(RuntimeError, match="for ever"):
        matches["duel-1"].receive("duel-2", "ping")


# --- what is declared


def test_a_room_is_for_ids() -> None:
    assert Zone.matches("zone-town") and not Zone.matches("zone-") and not Zone.matches("zone-a b")
    assert not Zone.matches("zone-" + "x" * 96) and Zone.matches("zone-" + "x" * 95)

    class Lobby(Room):
        rooms = "lobby"

    assert Lobby.matches("lobby") and not Lobby.matches("lobby2")

    class Any_(Room):
        rooms = "*"

    assert Any_.matches("x") and not Any_.matches("")


def test_a_class_without_ids_is_for_others_to_derive_from() -> None:
    class Place(Room):
        people: Table[Body]

        @received("arrive")
        def arrive(self, sender: str, player: str) -> None:
            self.people[player] = Body()

    class Inn(Place):
        rooms = "inn-*"

        @received("ghost")
        def ghost(self, sender: str, payload: dict[str, Any]) -> None: ...

    inn = play(Inn, room="inn-1")
    inn.receive("zone-town", "arrive", player="ann")
    inn.receive("zone-town", "ghost", anything=1)
    assert inn.tables == {"people": {"ann": {"hearts": 3}}}
    assert not Place.matches("inn-1")


def _class(**body: Any) -> type[Room]:
    return type("Bad", (Room,), {"rooms": "bad-*", **body})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"rooms": 7}, r"Bad\.rooms: expected an id such as \"lobby\", or a beginning and \*"),
        ({"rooms": "a*b"}, r"Bad\.rooms: .*got 'a\*b'"),
        ({"rooms": "ä-*"}, r"Bad\.rooms: "),
        ({"rooms": "x" * 101}, r"Bad\.rooms: "),
        ({"declared": "bad-1"}, r"Bad\.declared: expected a tuple of ids such as \(\"zone-town\",\), got 'bad-1'"),
        ({"declared": ("good-1",)}, r"Bad\.declared: 'good-1' is not one of its rooms, 'bad-\*'"),
        ({"copies": 0}, r"Bad\.copies: expected an int from 1 to 5 \(pods\), got 0"),
        ({"copies": True}, r"Bad\.copies"),
        ({"empty_seconds": -1}, r"Bad\.empty_seconds: expected 0 or more seconds"),
        ({"on_demand": 1}, r"Bad\.on_demand: expected True or False, got 1"),
        ({"ticks_when_empty": None}, r"Bad\.ticks_when_empty"),
        ({"tick_rate": -1}, r"Bad\.tick_rate"),
        ({"room": "x"}, r"Bad\.room: Room itself has room; call it otherwise"),
        ({"end": lambda self: None}, r"Bad\.end: Room itself has end"),
        ({"__init__": lambda self: None}, r"Bad\.__init__: a game has no constructor"),
        ({"returned": lambda self, room: None}, r"Bad\.returned must take \(self, room, event, payload\)"),
    ],
)
def test_a_class_that_can_not_be_one_is_said(body: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        _class(**body)


def test_a_rule_for_letters_that_can_not_be_one_is_said() -> None:
    with pytest.raises(DefinitionError, match=r"A\.a: its first parameter is the sender, not a field of the payload"):

        class A(Room):
            @received("a")
            def a(self, player: str) -> None: ...

    with pytest.raises(DefinitionError, match=r"B\.b must take \(self, sender, …\)"):

        class B(Room):
            @received("b")
            def b(self) -> None: ...

    with pytest.raises(DefinitionError, match=r"C\.c: the parameter x has no type"):

        class C(Room):
            @received("c")
            def c(self, sender: str, x) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(DefinitionError, match="two rules for 'd'"):

        class D(Room):
            @received("d")
            def d(self, sender: str) -> None: ...

            @received("d")
            def e(self, sender: str) -> None: ...

    with pytest.raises(DefinitionError, match=r"a rule can't be called returned, which Room itself has"):

        class E(Room):
            @on("x")
            def returned(self, player: Player) -> None: ...  # type: ignore[override]

    with pytest.raises(DefinitionError, match=r'@received needs the name of an event: @received\("move"\)'):
        received("")
    with pytest.raises(DefinitionError, match=r"F\.invited: Room itself has invited; call the table otherwise"):

        class F(Room):
            invited: Table[Body]  # type: ignore[assignment]


def test_an_event_may_be_a_move_and_a_letter() -> None:
    class Both(Room):
        rooms = "both"

        @on("hello")
        def from_player(self, player: Player) -> dict[str, str]:
            return {"hello": player.id}

        @received("hello")
        def from_room(self, sender: str) -> None:
            self.broadcast("hello", {"from": sender})

    both = play(Both, room="both")
    both.join("ann")
    assert both.move("ann", "hello") == {"hello": "ann"}
    both.receive("zone-town", "hello")
    assert both.broadcasts[-1].payload == {"from": "zone-town"}


def test_what_is_not_run_as_a_room_says_how() -> None:
    with pytest.raises(DefinitionError, match=r'Zone is a Room.*play\(Zone, room="…"\)'):
        play(Zone)
    with pytest.raises(DefinitionError, match=r"Zone has the rooms 'zone-\*': 'town' is none of them"):
        play(Zone, room="town")

    class Plain(Game):
        pass

    with pytest.raises(DefinitionError, match="Plain is not a class derived from Room"):
        play(Plain, room="x")  # type: ignore[type-var,call-overload]
    with pytest.raises(ValueError, match=r"a room's id has 1 to 100 letters.* not 'a b'"):
        make_room(Zone, "a b", (), random.Random(1))


def test_a_letter_needs_a_room_s_id() -> None:
    town = play(Zone, room="zone-town")
    town.join("ann")
    with pytest.raises(ValueError, match="a room's id has"):
        town.move("ann", "walk", to="the moon")
    assert town.tables["people"] == {"ann": {"hearts": 3}} and not town.letters


def test_a_runtime_says_how_its_room_is_kept() -> None:
    town, _ = make_room(Zone, "zone-town", (), random.Random(1))
    moon, _ = make_room(Zone, "zone-moon", (), random.Random(1))
    assert (town.empty_seconds, moon.empty_seconds, town.ticks_when_empty) == (None, 30.0, False)
    assert isinstance(town, RoomRuntime) and isinstance(town, Runtime) and town.tick_rate == 2
    assert town.schema()["game"] == "Zone" and town.fields() == {"people": ["hearts"]}


def test_an_idle_room_is_small() -> None:
    """10,000 of them in a process: 1.5 kB each."""
    chance = random.Random(1)
    make_room(Zone, "zone-0", (), chance)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        rooms = [make_room(Zone, f"zone-{n}", (), chance) for n in range(500)]
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / len(rooms)
    finally:
        tracemalloc.stop()
    assert 500 < each < 2500
