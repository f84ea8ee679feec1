"""The leader's look at the tickets: who matches is matched, who waits too long is told, what went wrong is looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gamecluster.core.messages import Fields, Incarnation
from gamecluster.errors import ConfigurationError
from gamecluster.game import DefinitionError
from gamecluster.matching import Range
from gamecluster.matchmaking import Matchmaker
from gamecluster.rules import Rejected
from gamecluster.services.ledger import Ledger
from gamecluster.services.matchmaker import MATCHED, TICKETS
from gamecluster.services.matchmaker import Matchmaker as Service
from gamecluster.services.rooms import Rooms
from gamecluster.shell import matchmaking
from gamecluster.shell.matchmaking import Matching

POD = Incarnation("arena-0_a_1")


class Duels(Matchmaker):
    ranges = {"skill": Range(within=50, per_second=0)}  # noqa: RUF012
    match_topic = "duel:{match}"
    expire_seconds = 30


class Kinds:
    """One for duels."""

    def kind_of(self, room: str) -> str | None:
        return "Duel" if room.startswith("duel-") else None

    def copies(self, kind: str) -> int:
        return 2


class Backend:
    """A cluster of one. ``asked``: verbs, in order; ``refuses``: the next call of this verb is."""

    is_leader = True

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.ledger = Ledger()
        self.rooms = Rooms(self.ledger, self.milliseconds, lambda *call: None)
        self.service = Service(self.ledger, self.milliseconds, self.rooms)
        self.asked: list[str] = []
        self.refuses: str | None = None
        self.told: list[tuple[str, str]] = []

    def milliseconds(self) -> int:
        return round(self.seconds * 1000)

    def staying(self) -> list[Incarnation]:
        return [POD]

    async def ask(self, service: str, verb: str, args: Fields) -> Fields:
        assert service == "matchmaker"
        self.asked.append(verb)
        if verb == self.refuses:
            self.refuses = None
            raise Rejected("no leader")
        response: Fields = getattr(self.service, verb)(POD, **args) or {}
        self.told += [(b.topic, b.event) for b in self.ledger.take()[1]]
        return response

    def rows(self, table: str) -> Mapping[str, Fields]:
        return dict(self.ledger.rows(table))

    async def enqueue(self, id: str, **properties: Any) -> None:
        await self.ask("matchmaker", "enqueue", {"id": id, "players": [id], "size": 2, "properties": properties})
        self.asked.clear()


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def matching(backend: Backend) -> Matching:
    return make(backend, Duels)


def make(backend: Backend, rules: type[Matchmaker]) -> Matching:
    return Matching(backend, rules, lambda: backend.seconds, Kinds(), {POD: "ws://arena-0"}.get)


async def test_who_matches_is_matched_and_sent_to_a_topic_of_their_own(backend: Backend, matching: Matching) -> None:
    for id, skill in ("ann", 1000), ("bob", 1040), ("cat", 2000), ("dan", 1020):
        await backend.enqueue(id, skill=skill)
    assert await matching.look()
    assert backend.asked == ["match"] and sorted(backend.rows(TICKETS)) == ["bob", "cat"]
    found = backend.rows(MATCHED)
    assert found["ann"]["topic"] == found["dan"]["topic"] == f"duel:{found['ann']['match']}"
    assert backend.told == [("player:ann", "match.found"), ("player:dan", "match.found")]
    assert not await matching.look() and backend.asked == ["match"], "what nobody matches costs no call"


class Rooms1v1(Matchmaker):
    match_topic = "game:duel-{match}"


async def test_a_match_on_the_topic_of_a_room_has_one_made(backend: Backend) -> None:
    matching = make(backend, Rooms1v1)
    for id in "ann", "bob":
        await backend.enqueue(id)
    assert await matching.look()
    found = backend.rows(MATCHED)["ann"]
    row = backend.rooms.row(f"duel-{found['match']}")
    assert row is not None and (row["kind"], row["holder"], row["players"]) == ("Duel", POD, ["ann", "bob"])
    assert found["topic"] == f"game:duel-{found['match']}" and found["url"] == "ws://arena-0"


def test_matches_in_rooms_that_there_is_no_class_for_are_a_mistake(backend: Backend) -> None:
    rules = type("Races", (Matchmaker,), {"match_topic": "game:race-{match}"})
    with pytest.raises(ConfigurationError, match="no Room among the targets is for 'race-"):
        make(backend, rules)


async def test_a_match_that_was_refused_is_made_at_the_next_look(backend: Backend, matching: Matching) -> None:
    for id in "ann", "bob":
        await backend.enqueue(id)
    backend.refuses = "match"
    assert not await matching.look() and sorted(backend.rows(TICKETS)) == ["ann", "bob"]
    assert await matching.look() and backend.rows(TICKETS) == {}


async def test_a_ticket_that_waits_too_long_expires(backend: Backend, matching: Matching) -> None:
    await backend.enqueue("ann")
    backend.seconds += 30
    assert not await matching.look() and backend.asked == []
    backend.seconds += 1
    assert not await matching.look()
    assert backend.told == [("player:ann", "match.expired")] and backend.rows(TICKETS) == {}


async def test_matches_are_forgotten_in_time(backend: Backend, matching: Matching) -> None:
    for id in "ann", "bob":
        await backend.enqueue(id)
    await matching.look()
    backend.seconds += 121
    await matching.look()
    assert backend.rows(MATCHED) == {}
    backend.asked.clear()
    await matching.look()
    assert backend.asked == []


async def test_a_crowd_is_looked_at_in_a_thread_and_matched_in_parts(backend: Backend, matching: Matching) -> None:
    crowd = 2 * (matchmaking.MADE_AT_ONCE + 1)
    assert crowd >= matchmaking.IN_A_THREAD_FROM
    for n in range(crowd):
        await backend.enqueue(f"p{n}")
    assert await matching.look() and len(backend.rows(TICKETS)) == 2
    assert await matching.look() and backend.rows(TICKETS) == {}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"topic": "queue"}, "one matchmaker, on the topic"),
        ({"match_topic": "duel"}, 'a topic such as "duel:{match}"'),
        ({"ranges": {"skill": 50}}, "expected Ranges"),
        ({"expire_seconds": 0}, "expected seconds"),
    ],
)
def test_a_mistake_is_told_when_the_class_is_defined(attributes: Fields, message: str) -> None:
    with pytest.raises(DefinitionError) as error:
        type("Wrong", (Matchmaker,), attributes)
    assert message in str(error.value)
