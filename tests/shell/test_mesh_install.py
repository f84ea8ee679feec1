"""A large state goes to another pod in parts: it arrives whole, what follows it comes after it, and it never waits for a lost link."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.shell.test_mesh import HELLO, Node, numbered, running, until

from gamecluster.core.messages import Append, Install, Message, Position, Tables
from gamecluster.shell import mesh_install
from gamecluster.shell.mesh_install import PART_BYTES, Incoming, Outgoing, Part, parts


def large(rows: int, width: int = 0, seed: int = 0) -> Install:
    dice = random.Random(seed)
    board = {f"p{number}": {"score": number, "w": "x" * dice.randrange(width + 1)} for number in range(rows)}
    tables: Tables = {"$board:wins:1": board, "none": {}, "$boards": {"wins": {"season": 1, "oldest": 1}}}
    return Install(3, Position(3, 40), tables)


def received(sent: list[Any]) -> list[Part]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=list[Part])


@pytest.mark.parametrize(("rows", "width"), [(0, 0), (1, 0), (5000, 0), (900, 4000), (3, 900_000)])
def test_parts_are_short_and_make_the_same_state(rows: int, width: int) -> None:
    install = large(rows, width)
    sent = list(parts(install))
    incoming = Incoming()
    assert [incoming.take(part) for part in received(sent)] == [None] * (len(sent) - 1) + [install]
    for part in sent:
        if isinstance(part, mesh_install.EncodedRows):
            count = len(msgspec.msgpack.decode(part.rows, type=dict[str, Any]))
            assert len(bytes(part.rows)) <= 4 * PART_BYTES or count == 1


class Turns:
    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self.done: list[Message] | None = None
        self.unsent = 0

    def outgoing(self, install: Install) -> Outgoing:
        def later(_: float, then: Callable[[], None]) -> None:
            self.due.append(then)

        def done(behind: deque[Message]) -> None:
            self.done = list(behind)

        return Outgoing(install, self.sent.append, lambda: self.unsent, later, done)

    def turn(self) -> None:
        due, self.due = self.due, []
        for then in due:
            then()


def test_what_must_follow_it_waits_and_a_slow_peer_is_waited_for() -> None:
    turns = Turns()
    outgoing = turns.outgoing(large(5000))
    append = Append(3, Position(3, 40), [], 40)
    assert outgoing.takes(append) and not outgoing.takes(HELLO) and not outgoing.takes(numbered(1))
    turns.turn()
    before = len(turns.sent)
    turns.unsent = mesh_install.UNSENT_BYTES
    turns.turn()
    assert len(turns.sent) == before > 0
    turns.unsent = 0
    while turns.due:
        turns.turn()
    assert turns.done == [append]


def test_it_ends_with_its_link() -> None:
    turns = Turns()
    outgoing = turns.outgoing(large(5000))
    turns.turn()
    outgoing.drop()
    sent = len(turns.sent)
    turns.turn()
    assert len(turns.sent) == sent and turns.due == [] and turns.done is None


async def test_a_large_state_comes_before_what_was_sent_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_install, "LARGE", 1000)
    b = Node("a-1", tmp_path)
    a = Node("a-0", tmp_path, (b.at,))
    install = large(20_000, 10)
    append = Append(3, Position(3, 40), [], 41)
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        for message in (install, append, HELLO):
            a.mesh.send(b.me, message)
        await until(lambda: append in b.said())
        assert b.said() == [HELLO, install, append]
        assert not a.mesh._outgoing
        a.mesh.send(b.me, append)
        await until(lambda: b.said().count(append) == 2)


async def test_a_link_that_is_lost_takes_what_was_on_its_way_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_install, "LARGE", 1000)
    b = Node("a-1", tmp_path)
    a = Node("a-0", tmp_path, (b.at,))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        a.mesh.send(b.me, large(200_000))
        await until(lambda: b.mesh._incoming)
        a.link_to(b).close("cut", abort=True)
        assert not a.mesh._outgoing
        await until(lambda: len(b.ups()) == 2 and a.linked())
        assert not b.mesh._incoming
        a.mesh.send(b.me, HELLO)
        await until(lambda: HELLO in b.said())
        assert b.said() == [HELLO]
