"""The index of a leaderboard agrees with a sorted list, whatever is put in, taken out and not committed yet."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster.services import ranking as module
from gamecluster.services.ranking import FIRST, Key, Ranking, View, key_of

PLAYERS = [f"p{number}" for number in range(40)]
Row = dict[str, float]
rows = st.fixed_dictionaries({"score": st.integers(-5, 5) | st.floats(-3, 3), "at": st.integers(1, 4)})
changes = st.lists(st.tuples(st.sampled_from(PLAYERS), st.none() | rows), max_size=120)


def model(table: dict[str, Row]) -> list[Key]:
    return sorted(key_of(player, row) for player, row in table.items())


def entries(keys: list[Key], first: int = 1) -> list[dict[str, object]]:
    return [{"rank": first + i, "player": key[2], "score": -key[0]} for i, key in enumerate(keys)]


def check(view: View, keys: list[Key], limit: int) -> None:
    assert view.count() == len(keys)
    assert view.top(limit) == entries(keys[:limit])
    for player in PLAYERS:
        at = next((i for i, key in enumerate(keys) if key[2] == player), None)
        if at is None:
            assert view.rank(player) is None and view.around(player, limit) == []
        else:
            assert view.rank(player) == at + 1
            start = max(0, min(at - (limit - 1) // 2, len(keys) - limit))
            assert view.around(player, limit) == entries(keys[start : start + limit], start + 1)


@settings(max_examples=150, deadline=None)
@given(changes, st.integers(1, 12), st.integers(2, 9))
def test_it_is_in_order_after_any_changes(done: list[tuple[str, Row | None]], limit: int, chunk: int) -> None:
    usual = module.CHUNK, module.FEWEST
    module.CHUNK, module.FEWEST = chunk, max(1, chunk // 4)
    try:
        table: dict[str, Row] = {}
        ranking = Ranking(table)
        for player, row in done:
            if row is None:
                table.pop(player, None)
                ranking.remove(player)
            else:
                table[player] = row
                ranking.put(player, row)
        keys = model(table)
        assert len(ranking) == len(keys) and ranking.following(FIRST, 1000) == keys
        check(View(ranking), keys, limit)
        assert Ranking(table).following(FIRST, 1000) == keys
    finally:
        module.CHUNK, module.FEWEST = usual


@settings(max_examples=150, deadline=None)
@given(changes, changes, st.integers(1, 12))
def test_a_view_has_what_is_not_committed_yet(
    committed: list[tuple[str, Row | None]], ahead: list[tuple[str, Row | None]], limit: int
) -> None:
    table = {player: row for player, row in committed if row is not None}
    ranking = Ranking(table)
    now = dict(table)
    for player, row in ahead:
        if row is None:
            now.pop(player, None)
        else:
            now[player] = row
    before, after = set(model(table)), set(model(now))
    check(View(ranking, before - after, after - before), sorted(after), limit)


def test_a_long_one_stays_in_chunks_that_are_neither_long_nor_many() -> None:
    seed = random.randrange(2**20)
    print(f"seed {seed}")
    randomness = random.Random(seed)
    ranking = Ranking()
    for number in range(30_000):
        ranking.put(f"p{number}", {"score": randomness.randrange(1000), "at": number})
    for number in randomness.sample(range(30_000), 28_000):
        ranking.remove(f"p{number}")
    lengths = [len(chunk) for chunk in ranking._chunks]
    assert sum(lengths) == len(ranking) == 2_000
    assert max(lengths) <= module.CHUNK and len(lengths) <= 2_000 / module.FEWEST
