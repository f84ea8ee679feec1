"""What a client that comes back has missed, read off real logs."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.cluster import Cluster
from tests.shell.rejoin_bytes import rejoin

from gamecluster.core import events as happened
from gamecluster.core.messages import Entry, Op, Position, Tables
from gamecluster.core.replication import HISTORY, Log, apply
from gamecluster.shell.patches import Merged
from gamecluster.shell.resume import FEWEST_OPS, missed

KEYS = [f"p{n}" for n in range(5)]
fields = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9), max_size=3)
some_ops: st.SearchStrategy[Op] = st.tuples(
    st.sampled_from(["ships", "wins"]), st.sampled_from(KEYS), st.one_of(st.none(), fields)
)
histories = st.lists(st.lists(some_ops, max_size=4), min_size=1, max_size=12)


def changed(tables: Tables, ops: list[Op]) -> Tables:
    tables = copy.deepcopy(tables)
    apply(tables, ops)
    return {name: rows for name, rows in tables.items() if rows}


def logged(history: list[list[Op]], epochs: list[int] | None = None) -> tuple[Log, dict[Position, Tables]]:
    """A committed log, and the state at each of its positions."""
    log, states = Log(), {}
    for index, ops in enumerate(history):
        log.append(Entry(epochs[index] if epochs else 1, index + 1, ops, [], []))
        log.commit(index + 1)
        states[log.committed] = {name: rows for name, rows in log.snapshot().items() if rows}
    return log, states


@given(st.lists(some_ops, max_size=20), st.lists(some_ops, max_size=20))
def test_merged_ops_do_what_all_of_them_did_and_are_never_more(before: list[Op], ops: list[Op]) -> None:
    start = changed({}, before)
    short = Merged(ops).ops()
    assert changed(start, short) == changed(start, ops)
    assert len(short) <= len(ops)
    assert len(short) <= 2 * len({(table, key) for table, key, _ in ops})


@given(st.lists(some_ops, max_size=20), st.integers(0, 20))
def test_ops_that_are_seen_twice_change_nothing_more(ops: list[Op], known: int) -> None:
    """So it does no harm that a client's copy has a part of them already."""
    assert changed(changed({}, ops[:known]), Merged(ops).ops()) == changed({}, ops)


@given(histories)
def test_from_every_position_the_missed_ops_lead_to_the_present_state(history: list[list[Op]]) -> None:
    log, states = logged(history)
    for position, state in states.items():
        ops = missed(log, position, log.tables)
        assert ops is not None
        assert changed(state, ops) == states[log.committed]


def test_a_merge_leaves_the_logs_own_entries_as_they_are() -> None:
    log, _ = logged([[("ships", "a", {"x": 1})], [("ships", "a", {"x": 2})], [("ships", "a", {"y": 3})]])
    assert missed(log, Position(1, 1), log.tables) == [("ships", "a", {"x": 2, "y": 3})]
    assert [entry.ops for entry in log.after(Position(1, 1))] == [
        [("ships", "a", {"x": 2})],
        [("ships", "a", {"y": 3})],
    ]


@pytest.mark.parametrize(
    "position",
    [Position(1, 3), Position(2, 2), Position(3, 3), Position(3, 4), Position(2, 9), Position(9, 1)],
    ids=["lost with its leader", "another epoch", "future", "future epoch", "lost tail", "made up"],
)
def test_a_position_that_is_not_in_the_history_is_not_known(position: Position) -> None:
    log, _ = logged([[("ships", "a", {"x": n})] for n in range(3)], epochs=[1, 1, 2])
    assert missed(log, position, log.tables) is None
    assert missed(log, Position(1, 2), log.tables) == [("ships", "a", {"x": 2})]


def test_what_is_not_committed_is_neither_told_nor_known() -> None:
    log, _ = logged([[("ships", "a", {"x": 1})]])
    log.append(Entry(1, 2, [("ships", "a", {"x": 2})], [], []))
    assert missed(log, Position(1, 1), log.tables) == []
    assert missed(log, Position(1, 2), log.tables) is None


def test_the_systems_tables_are_nobodys_business() -> None:
    log, _ = logged([[("ships", "a", {"x": 1})], [("$players", "a", {"n": 1}), ("$answers", "a/1", None)]])
    assert missed(log, Position(1, 1), log.tables) == []


def test_after_a_snapshot_nothing_older_is_known() -> None:
    log, _ = logged([[("ships", "a", {"x": n})] for n in range(5)])
    log.install(Position(2, 9), {"ships": {"a": {"x": 7}}})
    assert missed(log, Position(1, 4), log.tables) is None
    assert missed(log, Position(2, 9), log.tables) == []


def test_positions_are_known_for_as_long_as_the_log_keeps_its_entries() -> None:
    log, _ = logged([[] for _ in range(HISTORY + 10)])
    log.trim()
    assert missed(log, Position(1, 10), log.tables) == []
    assert missed(log, Position(1, 9), log.tables) is None


@pytest.mark.parametrize("rows", [0, 1000])
def test_more_ops_than_the_state_has_rows_are_no_gain(rows: int) -> None:
    tables: Tables = {"ships": {f"p{n}": {"x": 1.0} for n in range(rows)}}
    most = max(FEWEST_OPS, rows)
    history: list[list[Op]] = [[], [("ships", f"p{n}", {"x": 2.0}) for n in range(most)], [("ships", "p0", {"x": 3.0})]]
    log, _ = logged(history)
    assert missed(log, Position(1, 1), tables) is None
    enough: Any = missed(log, Position(1, 2), tables)
    assert enough == [("ships", "p0", {"x": 3.0})]


def test_who_was_away_for_a_second_from_a_thousand_ships_is_sent_a_tenth_at_most() -> None:
    (known, _), (whole, _) = rejoin(1.0, says_position=True), rejoin(1.0, says_position=False)
    assert known * 10 < whole


def test_whatever_a_pod_has_shown_is_known_to_the_others_after_failovers_and_hand_overs() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    cluster = Cluster(size=5)
    shown: list[tuple[Position, Tables]] = []
    for name in list(cluster.nodes):
        cluster.join(name, player=f"player at {name}")
    for step in range(60):
        name = dice.choice(list(cluster.nodes))
        cluster.ask(name, player=f"player at {name}")
        cluster.run(dice.choice([0.0, 0.02, 0.1]))
        shown += [(node.position(), copy.deepcopy(node.visible_tables())) for node in cluster.nodes.values()]
        leader = cluster.leader()
        if step in (20, 40):
            cluster.kill(leader or name)
            cluster.run(2)
        elif step % 10 == 5:
            cluster.tell(name, happened.HandOffRequested(None))
            cluster.run(1)
    cluster.run(2)
    assert len({position.epoch for position, _ in shown}) >= 3
    for node in cluster.nodes.values():
        for position, tables in shown:
            ops = missed(node.log, position, node.visible_tables())
            assert ops is not None, position
            assert changed(tables, ops) == changed(node.visible_tables(), [])
