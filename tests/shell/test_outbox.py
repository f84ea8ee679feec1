"""What clients are written, turn by turn: one write each, the same order on a topic for everyone, and room for those who are behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.shell.outbox import MAX_BYTES, Flusher, Group, Outbox

from .fakes import FakeClock


class Stage:
    """Frames are single characters, so that what was written reads as a word."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.flusher = Flusher(self.clock.call_soon)
        self.writes: dict[int, list[str]] = {}
        self.outboxes: dict[int, Outbox] = {}
        self.dropped: list[int] = []

    def client(self, *groups: Group) -> Outbox:
        number = len(self.writes)
        self.writes[number] = []
        outbox = self.outboxes[number] = Outbox(number, self._writer(number), self.flusher)
        for group in groups:
            group.join(outbox)
        return outbox

    def group(self) -> Group:
        return Group(self.flusher, self._drop)

    def turn(self) -> list[list[str]]:
        """What each client was written in this turn, write by write."""
        self.clock.turn()
        told = [list(writes) for writes in self.writes.values()]
        for writes in self.writes.values():
            writes.clear()
        return told

    def _writer(self, number: int) -> Callable[[bytes], None]:
        return lambda data: self.writes[number].append(data.decode())

    def _drop(self, number: int) -> None:
        self.dropped.append(number)
        for group in list(self.outboxes[number].groups):
            group.leave(self.outboxes[number])
        self.outboxes[number].close()


def test_a_turn_is_one_write_and_nothing_is_written_before_its_end() -> None:
    stage = Stage()
    room = stage.group()
    one, _ = stage.client(room), stage.client(room)
    for letter in (b"a", b"b", b"c"):
        room.send(letter)
    assert one.send(b"!")
    room.send(b"d")
    assert stage.writes == {0: [], 1: []}
    assert stage.turn() == [["abc!d"], ["abcd"]]
    assert stage.turn() == [[], []]


def test_who_is_in_several_groups_gets_one_write_too() -> None:
    stage = Stage()
    room, game = stage.group(), stage.group()
    stage.client(room, game), stage.client(room), stage.client(game)
    room.send(b"r")
    game.send(b"g")
    room.send(b"R")
    assert stage.turn() == [["rRg"], ["rR"], ["g"]]


def test_who_joins_or_leaves_amid_a_turn() -> None:
    stage = Stage()
    room = stage.group()
    early = stage.client(room)
    room.send(b"a")
    late = stage.client(room)
    late.send(b"hello")
    room.send(b"b")
    early.send(b"bye")
    room.leave(early)
    room.send(b"c")
    assert stage.turn() == [["abbye"], ["hellobc"]]


def test_a_member_may_be_passed_over() -> None:
    stage = Stage()
    room = stage.group()
    one, _ = stage.client(room), stage.client(room)
    for number, letter in enumerate((b"a", b"b", b"c", b"d")):
        room.send(letter)
        if number in (1, 2):
            assert room.pass_over(one.number)
    assert stage.turn() == [["ad"], ["abcd"]]


def test_who_does_not_read_waits_and_then_has_everything() -> None:
    stage = Stage()
    room = stage.group()
    slow, _ = stage.client(room), stage.client(room)
    slow.full()
    room.send(b"a")
    assert stage.turn() == [[], ["a"]]
    slow.send(b"b")
    room.send(b"c")
    assert stage.turn() == [[], ["c"]]
    slow.writable()
    room.send(b"d")
    assert stage.turn() == [["abc", "d"], ["d"]]


def test_a_buffer_that_gets_full_amid_a_write() -> None:
    stage = Stage()
    room = stage.group()
    client = stage.client(room)
    client.write = lambda data: (stage.writes[0].append(data.decode()), client.full())  # type: ignore[func-returns-value]
    room.send(b"a")
    assert stage.turn() == [["a"]]
    room.send(b"b")
    assert stage.turn() == [[]]
    client.writable()
    assert stage.turn() == [["b"]]


def test_who_never_reads_is_dropped_when_there_is_no_room_and_nobody_else() -> None:
    stage = Stage()
    room, other = stage.group(), stage.group()
    slow, _ = stage.client(room, other), stage.client(room)
    slow.full()
    piece = b"x" * (MAX_BYTES // 4)
    for turn in range(6):
        room.send(piece)
        told = stage.turn()
        assert told[1] == [piece.decode()]
        assert stage.dropped == ([0] if turn >= 4 else [])
    assert slow.groups == [] and 0 not in room.members and 0 not in other.members


def test_a_turn_that_is_larger_than_what_may_wait_drops_nobody_who_reads() -> None:
    stage = Stage()
    room = stage.group()
    one, _ = stage.client(room), stage.client(room)
    piece = b"x" * (MAX_BYTES // 3)
    for _ in range(7):
        room.send(piece)
        assert one.send(b"y")
    mine, others = stage.turn()
    assert "".join(mine) == (piece.decode() + "y") * 7 and "".join(others) == piece.decode() * 7
    assert stage.dropped == []


def test_before_a_close_all_is_written() -> None:
    stage = Stage()
    room = stage.group()
    one = stage.client(room)
    room.send(b"a")
    one.send(b"b")
    room.send(b"c")
    one.finish()
    assert stage.writes[0].pop() == "abc"
    room.leave(one)
    one.close()
    assert stage.turn() == [[]]


deeds = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("tell"), st.integers(0, 3), st.just(0)),
    st.tuples(st.sampled_from(["join", "leave", "pass"]), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.sampled_from(["full", "writable"]), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("turn"), st.just(0), st.just(0)),
)


@hypothesis.settings(max_examples=300, deadline=None)
@given(st.lists(deeds, max_size=60))
def test_every_client_gets_what_was_for_it_in_each_groups_order(script: list[tuple[str, int, int]]) -> None:
    """A model beside it: for each client and group, what should have come, own frames among them."""
    stage = Stage()
    groups = [stage.group() for _ in range(3)]
    clients = [stage.client() for _ in range(4)]
    heard = [""] * 4
    due: dict[tuple[int, int], list[str]] = {(c, g): [] for c in range(4) for g in range(3)}
    letter = 0x4E00

    def hear() -> None:
        for number, writes in enumerate(stage.turn()):
            assert not clients[number].is_full or len(writes) <= 1
            heard[number] += "".join(writes)

    for what, first, second in script:
        letter += 1
        text = chr(letter)
        match what:
            case "send":
                groups[first].send(text.encode())
                for number in groups[first].members:
                    due[number, first].append(text)
            case "pass" if groups[second]._frames and first in groups[second].members:
                groups[second].send(text.encode())
                groups[second].pass_over(first)
                for number in groups[second].members:
                    if number != first:
                        due[number, second].append(text)
            case "tell":
                clients[first].send(text.encode())
                for group in range(3):
                    if groups[group] in clients[first].groups:
                        due[first, group].append(text)
            case "join" if first not in groups[second].members:
                groups[second].join(clients[first])
            case "leave" if first in groups[second].members:
                clients[first].send(text.encode())  # as a goodbye is: what waits goes before it
                for group in range(3):
                    if groups[group] in clients[first].groups:
                        due[first, group].append(text)
                groups[second].leave(clients[first])
            case "full":
                clients[first].full()
            case "writable":
                clients[first].writable()
            case "turn":
                hear()
    for client in clients:
        client.writable()
    hear()
    for (number, _), expected in due.items():
        assert [text for text in heard[number] if text in expected] == expected
        assert len(set(heard[number])) == len(heard[number])
    everything: dict[int, set[Any]] = {n: set().union(*(due[n, g] for g in range(3))) for n in range(4)}
    for number in range(4):
        told_alone = set(heard[number]) - everything[number]
        assert not any(text in expected for text in told_alone for expected in due.values())
