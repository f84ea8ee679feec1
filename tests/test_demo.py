"""The demo, and the games of examples/."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gamecluster import Rejected
from gamecluster.demo import Arena, Counter, Room
from gamecluster.matching import Ticket, find_matches
from gamecluster.targets import load
from gamecluster.testing import play, room, world

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("cls", [Arena, Counter, Room])
def test_each_demo_fits_on_a_screen(cls):
    assert len(inspect.getsource(cls).splitlines()) <= 40


def test_a_ship_begins_on_the_board_and_moves_by_five():
    arena = play(Arena, seed=3)
    for player in map(str, range(50)):
        arena.join(player)
    assert all(0 <= s["x"] <= 800 and 0 <= s["y"] <= 600 for s in arena.tables["ships"].values())
    arena = play(Arena, tables={"ships": {"p1": {"x": 100.0, "y": 100.0}}})
    arena.players.add("p1")
    assert arena.move("p1", "move", dx=1, dy=-1) == {}
    assert arena.tables == {"ships": {"p1": {"x": 105.0, "y": 95.0}}}
    assert arena.patches == [[("ships", "p1", {"x": 105.0, "y": 95.0})]]


def test_ships_stay_on_the_board():
    arena = play(Arena)
    arena.join("p1")
    for _ in range(200):
        arena.move("p1", "move", dx=1, dy=1)
    assert arena.tables["ships"]["p1"] == {"x": 800.0, "y": 600.0}
    for _ in range(200):
        arena.move("p1", "move", dx=-1, dy=-1)
    assert arena.tables["ships"]["p1"] == {"x": 0.0, "y": 0.0}
    patches = len(arena.patches)
    arena.move("p1", "move", dx=-1, dy=0)
    assert len(arena.patches) == patches, "against the wall nothing changes, so nobody is told"


@pytest.mark.parametrize(
    "payload", [{"dx": 2, "dy": 0}, {"dx": 0, "dy": -7}, {"dx": 1}, {"dx": 1.5, "dy": 0}, {"dx": True, "dy": 0}, {}]
)
def test_anything_but_a_step_is_refused(payload):
    arena = play(Arena)
    arena.join("p1")
    before = arena.tables
    with pytest.raises(Rejected):
        arena.move("p1", "move", **payload)
    assert arena.tables == before


def test_a_ship_goes_with_its_player():
    arena = play(Arena)
    arena.join("p1")
    arena.leave("p1")
    assert arena.tables == {"ships": {}}
    assert arena.patches[-1] == [("ships", "p1", None)]


def test_the_counter_adds_and_keeps_the_totals_of_those_who_left():
    counter = play(Counter)
    counter.join("p1")
    assert counter.tables == {"totals": {"p1": {"value": 0}}}
    assert counter.move("p1", "add", amount=5) == {"value": 5}
    assert counter.move("p1", "add", amount=-2) == {"value": 3}
    counter.leave("p1")
    counter.join("p1")
    assert counter.move("p1", "add", amount=1) == {"value": 4}
    with pytest.raises(Rejected, match="too much"):
        counter.move("p1", "add", amount=2**63 - 1)
    assert counter.tables == {"totals": {"p1": {"value": 4}}}


def test_a_shout_reaches_everyone_in_the_room_as_it_was():
    chat = room(Room, "room:1")
    chat.join("ann", player="ann")
    chat.join("bob")
    shouted = {"name": "ann", "message": "hé", "n": 1, "nested": [{"a": None}]}
    assert chat.push("ann", "shout", **shouted) == {}
    assert chat.received == {"ann": [("shout", shouted)], "bob": [("shout", shouted)]}


def test_a_teams_chat_keeps_what_was_said_for_who_was_away():
    chat = example("teams").TeamChat
    with pytest.raises(Rejected, match="token needed"):
        room(chat, "team:red").join("nobody")
    team = room(chat, "team:red", players=True)
    team.join("ann")
    position = team.join("ben")["recovery"]
    team.leave("ben")
    assert team.push("ann", "say", body=" over here ") == {"id": 1}
    team.push("ann", "typing")
    team.push("ann", "cheer", for_whom="ben")
    missed = team.join("ben", recover={"epoch": position["epoch"], "offset": position["offset"]})["recovery"]
    assert missed["recovered"]
    assert [(line["event"], line["payload"].get("body")) for line in missed["missed"]] == [
        ("said", "over here"),
        ("cheered", None),
    ]
    assert team.push("ben", "history")["messages"][0]["from"] == "ann"


def test_a_lobby_shows_who_is_there_and_who_guards_the_gates():
    lobby = room(example("lobby").Lobby, "lobby:1")
    with pytest.raises(Rejected, match="say who you are"):
        lobby.join("nobody")
    assert lobby.join("one", name="ann") == {"here": []}
    assert lobby.join("two", name="bob") == {"here": ["ann"]}
    lobby.push("two", "status", status="away")
    assert [meta["status"] for meta in lobby.presences["bob"]["metas"]] == ["away"]
    lobby.push("one", "guard", gate="north")
    guards = lobby.push("two", "guard", gate="north")["guards"]
    assert [guard["name"] for guard in guards] == ["ann", "bob"]
    lobby.push("one", "stop", gate="north")
    assert lobby.groups == {"north": ["bob"]}
    lobby.leave("two")
    assert lobby.groups == {} and set(lobby.presences) == {"ann"}


def test_coins_come_with_time_and_go_to_who_runs_there():
    coins = example("coins")
    game = play(coins.Coins, seed=1)
    game.tick()
    assert not game.tables["coins"], "no coins without runners"
    game.join("ann")
    game.tick(times=15)
    [coin] = game.tables["coins"].values()
    for axis, to in ("x", "right"), ("y", "down"):
        while game.tables["runners"]["ann"][axis] != coin[axis]:
            response = game.move("ann", "run", to=to)
    assert response == {"coins": 1}
    assert game.tables["coins"] == {}
    assert [(b.event, b.payload) for b in game.broadcasts] == [("coin", {"player": "ann", "coins": 1})]
    with pytest.raises(Rejected, match="no such direction") as refusal:
        game.move("ann", "run", to="away")
    assert refusal.value.response["known"] == ["left", "right", "up", "down"]


def test_tictactoe_knows_turns_and_the_winner():
    tictactoe = example("tictactoe")
    game = play(tictactoe.TicTacToe)
    game.join("ann")
    with pytest.raises(Rejected, match="nobody"):
        game.move("ann", "put", cell=0)
    game.join("bob")
    with pytest.raises(Rejected, match="full"):
        game.join("eve")
    with pytest.raises(Rejected, match="not your turn"):
        game.move("bob", "put", cell=0)
    for player, cell in ("ann", 0), ("bob", 3), ("ann", 1), ("bob", 4):
        game.move(player, "put", cell=cell)
    with pytest.raises(Rejected, match="not a free cell"):
        game.move("ann", "put", cell=4)
    game.move("ann", "put", cell=2)
    assert game.tables["boards"]["board"]["winner"] == "ann"
    with pytest.raises(Rejected, match="over"):
        game.move("bob", "put", cell=8)


def test_the_chat_has_names():
    chat = room(example("chat").Chat, "chatroom:1")
    with pytest.raises(Rejected, match="say who you are"):
        chat.join("1")
    assert chat.join("1", name=" ann ") == {"welcome": "ann", "room": "chatroom:1"}
    chat.join("2", name="bob")
    chat.push("1", "say", text="hello")
    chat.push("1", "say", text="hm", aside=True)
    chat.leave("1")
    said = ("said", {"name": "ann", "text": "hello"})
    assert chat.received["2"] == [("joined", {"name": "bob"}), said, ("left", {"name": "ann"})]
    assert chat.received["1"][-1] == ("said", {"name": "ann", "text": "hm"})


def test_guards_are_posted_paid_and_asked():
    npcs = example("npcs")
    house = room(npcs.Guardhouse, "guardhouse:1", singletons=[npcs.Treasury])
    house.join("ann")
    house.join("bob")
    house.push("ann", "post", guard="hal", motto="halt")
    house.push("bob", "post", guard="sue", motto="pass")
    assert house.push("bob", "talk", guard="hal", question="who?") == {"answer": "halt!", "heard": 1}
    assert house.received["ann"] == [("posted", {"guard": "hal"}), ("posted", {"guard": "sue"})]
    wages = {"hal": {"paid": 10, "left": 90}, "sue": {"paid": 10, "left": 80}}
    assert house.push("ann", "look") == {"guards": {"guard:hal": "test-0", "guard:sue": "test-0"}, "wages": wages}
    house.leave("ann")
    assert house.push("bob", "look")["guards"] == {"guard:sue": "test-0"}
    with pytest.raises(Rejected, match="unknown name"):
        house.push("bob", "talk", guard="hal", question="who?")


def test_a_duel_is_counted_and_its_loser_is_told():
    duel = play(example("duel").Duel)
    for player in ("ann", "bob"):
        duel.join(player)
    assert duel.move("ann", "call", number=40) == {"waits": True}
    with pytest.raises(Rejected, match="wait"):
        duel.move("ann", "call", number=50)
    assert duel.move("bob", "call", number=60) == {"winner": "bob", "wins": 1, "rank": 1}
    [notice] = duel.services.ledger.rows("$notices")["ann"].values()
    assert notice["body"] == {"lost to": "bob"}
    duel.move("bob", "call", number=1)
    assert duel.move("ann", "call", number=2)["wins"] == 1
    assert duel.move("ann", "season") == {"season": 2}


def test_who_walks_through_the_mud_has_one_body_and_all_that_is_theirs():
    mud = example("mud")
    zones = world(mud.Zone, singletons=[mud.Npc])
    town, forest, cave = (zones[id] for id in ("zone-town", "zone-forest", "zone-cave"))
    zones.join("zone-town", "ann")
    assert town.move("ann", "look")["people"] == ["ann"]
    for zone, way, to in (town, "north", forest), (forest, "down", cave):
        zone.move("ann", "walk", way=way)
        assert zone.broadcasts[-1].event == "match.migrate"
        with pytest.raises(Rejected, match="not here"):
            zone.move("ann", "say", text="still here?")
        to.join("ann")
        zone.leave("ann")
    gold = cave.move("ann", "dig")["gold"]
    assert gold and zones["zone-cave"].cluster.leaderboard("gold").score("ann") == gold
    assert [list(zone.tables["people"]) for zone in (town, forest, cave)] == [[], [], ["ann"]]
    zones.join("zone-town", "ann")
    assert town.tables["people"] == {}, "one body only"
    assert town.broadcasts[-1].payload == {"player": "ann", "topic": "game:zone-cave"}
    cave.move("ann", "walk", way="up")
    forest.join("ann")
    forest.move("ann", "walk", way="south")
    assert town.tables["people"]["ann"]["gold"] == gold
    with pytest.raises(Rejected, match="no way"):
        town.move("ann", "walk", way="up")


def test_the_town_believes_the_newest_step():
    mud = example("mud")
    town = play(mud.Zone, room="zone-town")
    for zone, steps in ("zone-cave", 2), ("zone-forest", 1):
        town.receive(zone, "moved", player="ann", zone=zone, steps=steps)
    assert town.tables["known"]["ann"] == {"zone": "zone-cave", "steps": 2}
    forest = play(mud.Zone, room="zone-forest", tables={"people": {"ann": {"gold": 7, "steps": 3}}})
    forest.join("ann")
    forest.move("ann", "walk", way="down")
    forest.give_back(forest.letters[0])
    assert forest.tables["people"]["ann"] == {"gold": 7, "steps": 4, "asleep": False}, "not let in, and not lost"


def test_an_npc_of_the_mud_is_one_wherever_it_is_asked():
    mud = example("mud")
    town = play(mud.Zone, room="zone-town", singletons=[mud.Npc])
    town.join("ann")
    town.move("ann", "ask", text="where is gold?")
    said = [b.payload for b in town.broadcasts if b.event == "said"]
    assert said == [
        {"by": "ann", "text": "where is gold?"},
        {"by": "npc:smith", "to": "ann", "text": "Dig in the cave, if you need gold."},
    ]
    assert town.cluster.singleton("npc:smith").read() == {"heard": 1}
    town.leave("ann")
    assert town.tables["people"]["ann"]["asleep"]


def test_a_duel_of_two_who_were_found_ends_with_a_winner_on_the_leaderboard():
    match = example("match")
    tickets = [
        Ticket(name, (name,), 2, {"skill": skill}, 0) for name, skill in (("ann", 10), ("ben", 40), ("eve", 900))
    ]
    [group] = find_matches(tickets, match.Duels.ranges, 0)
    id = match.Duels.match_topic.replace("{match}", "1").removeprefix("game:")
    duels = world(match.Duel)
    with pytest.raises(Rejected, match="unknown room"):
        duels.join(id, "eve")
    duel = duels.open(id, [ticket.id for ticket in group])
    duel.join("ann")
    with pytest.raises(Rejected, match="wait"):
        duel.move("ann", "shoot")
    with pytest.raises(Rejected, match="not invited"):
        duel.join("eve")
    duel.join("ben")
    assert duel.move("ben", "shoot") == {"ann": 1, "ben": 0}, "too early"
    for _ in range(10_000):
        duel.tick()
        if duel.tables["rounds"]["now"]["drawn"]:
            break
    assert duel.move("ann", "shoot") == {"ann": 2, "ben": 0}
    assert duel.has_ended and not duels.rooms
    assert duel.cluster.leaderboard("winners").top() == [{"rank": 1, "player": "ann", "score": 1}]
    [notice] = duel.services.ledger.rows("$notices")["ben"].values()
    assert notice["body"] == {"lost to": "ann"}


def test_the_examples_of_rooms_are_targets():
    loaded = load(
        [f"{EXAMPLES}/{target}" for target in ("mud.py:Zone", "mud.py:Npc", "match.py:Duel", "match.py:Duels")]
    )
    assert [room.rooms for room in loaded.rooms] == ["zone-*", "duel-*"]
    assert loaded.rooms[0].declared == ("zone-town", "zone-forest", "zone-cave")
