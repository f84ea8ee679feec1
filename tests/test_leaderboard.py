"""The ready-made topics ``leaderboard:<name>`` and ``player:<id>``, and what games and channels do with both, as developers test it."""

from __future__ import annotations

from typing import Any

import pytest

from gamecluster import Channel, Entity, Game, Player, Rejected, Table, on
from gamecluster.leaderboard import LeaderboardTopic
from gamecluster.player_topic import PlayerTopic
from gamecluster.testing import play, room


class Score(Entity):
    value: int = 0


class Wins(Game):
    scores: Table[Score]

    @on("win")
    def win(self, player: Player, amount: float, fails: bool = False) -> dict[str, Any]:
        board = self.cluster.leaderboard("wins")
        score = board.add(player.id, amount)
        self.cluster.notify("judge", {"won": player.id})
        if fails:
            raise Rejected("no")
        return {"score": score, "rank": board.rank(player.id), "top": board.top(1), "season": board.season}


class Desk(Channel):
    topic = "desk"

    @on("win")
    async def win(self, player: str) -> dict[str, Any]:
        board = self.cluster.leaderboard("wins")
        score = await board.add(player, 1)
        await self.cluster.notify("judge", {"won": player})
        return {"score": score, "entries": board.around(player, 3), "count": board.count()}

    @on("end")
    async def end(self) -> dict[str, Any]:
        board = self.cluster.leaderboard("wins")
        return {"season": await board.new_season(), "last": board.top(3, season=1), "now": board.season}


def test_a_rule_writes_and_reads_and_what_is_undone_was_never_there() -> None:
    game = play(Wins)
    for player in ("ann", "bob"):
        game.join(player)
    assert game.move("ann", "win", amount=2)["rank"] == 1
    with pytest.raises(Rejected):
        game.move("bob", "win", amount=9, fails=True)
    answer = game.move("bob", "win", amount=1.5)
    assert answer == {"score": 1.5, "rank": 2, "top": [{"rank": 1, "player": "ann", "score": 2}], "season": 1}
    assert len(game.services.ledger.rows("$notices")["judge"]) == 2


def test_a_channel_awaits_its_changes_and_reads_this_pods_copy() -> None:
    desk = room(Desk, "desk")
    desk.join("one")
    for _ in range(2):
        desk.push("one", "win", player="ann")
    assert desk.push("one", "win", player="bob") == {
        "score": 1,
        "entries": [{"rank": 1, "player": "ann", "score": 2}, {"rank": 2, "player": "bob", "score": 1}],
        "count": 2,
    }
    ended = desk.push("one", "end")
    assert (ended["season"], ended["now"], len(ended["last"])) == (2, 2, 2)


def test_clients_read_a_leaderboard_on_its_topic() -> None:
    board = room(LeaderboardTopic, "leaderboard:wins")
    assert board.join("early") == {"season": 1, "entries": []}
    for number in range(1, 13):
        board.services.boards.set_to("wins", f"p{number}", number)
    joined = board.join("late")
    assert [entry["player"] for entry in joined["entries"]] == [f"p{number}" for number in range(12, 2, -1)]
    assert len(board.push("late", "top")["entries"]) == 10
    assert board.push("late", "top", limit=1) == {"entries": [{"rank": 1, "player": "p12", "score": 12}]}
    assert [e["rank"] for e in board.push("late", "around", player="p6", limit=3)["entries"]] == [6, 7, 8]
    assert board.push("late", "around", player="nobody") == {"entries": []}
    assert board.push("late", "rank", player="p1") == {"rank": 12, "score": 1}
    assert board.push("late", "rank", player="nobody") == {"rank": None, "score": None}
    for event, payload, reason in (
        ("top", {"limit": 101}, "bad limit"),
        ("top", {"season": 2}, "unknown season"),
        ("around", {"player": ""}, "bad player"),
        ("top", {"limit": "ten"}, "bad payload"),
    ):
        with pytest.raises(Rejected, match=reason):
            board.push("late", event, **payload)


def test_a_leaderboard_must_have_a_name_that_it_can_have() -> None:
    with pytest.raises(Rejected, match="bad name"):
        room(LeaderboardTopic, "leaderboard:a/b").join("ann")


def test_a_players_topic_is_the_players_own_and_brings_what_was_kept() -> None:
    topic = room(PlayerTopic, "player:ann", players=True)
    ids = [topic.services.notices.tell("ann", body) for body in ("first", "second")]
    assert topic.join("ann") == {}
    assert [(event, notice["id"], notice["body"]) for event, notice in topic.received["ann"]] == [
        ("notification", ids[0], "first"),
        ("notification", ids[1], "second"),
    ]
    topic.push("ann", "ack", id=ids[0])
    topic.leave("ann")
    topic.join("ann")
    assert [notice["body"] for _, notice in topic.received["ann"]] == ["second"]
    with pytest.raises(Rejected, match="not yours"):
        topic.join("bob")
    with pytest.raises(Rejected, match="token needed"):
        room(PlayerTopic, "player:ann").join("ann")
