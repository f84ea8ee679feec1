"""Replicated caches: what a put takes, what it refuses, and what a rule does with one."""

from __future__ import annotations

import random

import pytest

from gamecluster import Channel, Game, Player, Rejected, on
from gamecluster.core.messages import Incarnation
from gamecluster.services import Services, caches
from gamecluster.testing import play, room

A = Incarnation("arena-0_a_1")


@pytest.fixture
def these() -> Services:
    return Services(lambda: 0.0, random.Random(1))


def put(these: Services, key: str, value: object, cache: str = "items") -> str:
    outcome = these.call("caches", "put", {"cache": cache, "key": key, "value": value}, A)
    return "ok" if outcome.ok else f"{outcome.response['reason']}: {outcome.response.get('detail')}"


def test_bounds_are_said(these: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    assert put(these, "k", "x" * 65_534) == "ok"
    assert put(these, "k", "x" * 65_535) == "too large: a value has at most 65536 bytes as JSON, not 65537"
    assert put(these, "k" * 200, 1) == "ok"
    assert put(these, "k" * 201, 1) == "too long: a key has 1 to 200 characters; this one has 201"
    assert put(these, "k", 1, cache="").startswith("too long: a cache")
    assert put(these, "k", float("nan")).startswith("bad payload")
    monkeypatch.setattr(caches, "MOST_ENTRIES", 2)
    assert put(these, "other", 1) == "cache full: a cache has at most 2 entries"
    assert put(these, "k", 2) == "ok", "it is there already"
    monkeypatch.setattr(caches, "MOST_CACHES", 1)
    assert put(these, "k", 1, cache="more") == "too many caches: a cluster has at most 1"


def test_it_is_cleared_a_piece_at_a_time(these: Services) -> None:
    for number in range(5):
        put(these, str(number), number)
    left = [these.call("caches", "clear", {"cache": "items", "most": 2}, A) for _ in range(3)]
    assert [(outcome.response["left"], len(outcome.ops)) for outcome in left] == [(3, 2), (1, 2), (0, 1)]


class Shelf(Channel):
    topic = "shelf"

    @on("use")
    async def use(self) -> dict[str, object]:
        cache = self.cluster.cache("items")
        first = await cache.put("a", {"list": [1]})
        cache.get("a")["list"].append(2)  # a copy
        await cache.put("b", None)
        seen = {
            "a": cache.get("a"),
            "b": cache.get("b", 7),
            "c": cache.get("c", 7),
            "in": "b" in cache,
            "len": len(cache),
        }
        deleted = [await cache.delete(key) for key in ("b", "c")]
        items = dict(cache.items())
        return {
            "put": first,
            **seen,
            "deleted": deleted,
            "items": items,
            "cleared": await cache.clear(),
            "left": len(cache),
        }


def test_a_channel_uses_one() -> None:
    shelf = room(Shelf, "shelf")
    shelf.join("ann")
    assert shelf.push("ann", "use") == {
        "put": {"pods": 1},
        "a": {"list": [1]},
        "b": None,
        "c": 7,
        "in": True,
        "len": 2,
        "deleted": [{"deleted": True, "pods": 1}, {"deleted": False, "pods": 1}],
        "items": {"a": {"list": [1]}},
        "cleared": {"pods": 1},
        "left": 0,
    }


class Score(Game):
    def join(self, player: Player) -> None:
        self.cluster.cache("seen").put(player.id, True)

    @on("try")
    def fail(self, player: Player) -> dict[str, object]:
        seen = self.cluster.cache("seen")
        if "bob" in seen:
            return {"seen": sorted(key for key, _ in seen.items())}
        seen.put("bob", True)
        seen.delete(player.id)
        raise Rejected("undone")

    @on("clear")
    def clear(self, player: Player) -> dict[str, int]:
        self.cluster.cache("seen").clear()
        return {"left": len(self.cluster.cache("seen"))}


def test_what_a_rule_does_is_undone_with_it() -> None:
    game = play(Score)
    game.join("ann")
    with pytest.raises(Rejected, match="undone"):
        game.move("ann", "try")
    game.join("bob")
    assert game.move("ann", "try") == {"seen": ["ann", "bob"]}
    assert game.move("ann", "clear") == {"left": 0}
