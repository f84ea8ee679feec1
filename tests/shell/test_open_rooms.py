"""Rooms that a channel opens."""

from __future__ import annotations

import random

import pytest

from gamecluster.cluster import Cluster, MemoryBackend
from gamecluster.core.messages import Fields
from gamecluster.rules import Rejected
from gamecluster.services import Services


class Backend(MemoryBackend):
    def how_to_open(self, room: str) -> Fields | None:
        return super().how_to_open(room) if room.startswith("duel-") else None


async def test_a_room_is_opened_for_its_players_once() -> None:
    backend = Backend(Services(lambda: 0.0, random.Random(1)))
    rooms = Cluster(backend).rooms
    assert rooms.all() == {}
    for players in (["ann", "bob"], ["eve"]):
        assert await rooms.open("duel-1", players) == {"topic": "game:duel-1"}
    assert backend.rows("$rooms")["duel-1"]["players"] == ["ann", "bob"], "it was there before"
    assert rooms.all() == {"duel-1": "test-0"}


@pytest.mark.parametrize(("room", "reason"), [("zone-1", "no such room"), ("duel-/", "bad room")])
async def test_what_can_not_be_opened_is_refused(room: str, reason: str) -> None:
    backend = Backend(Services(lambda: 0.0, random.Random(1)))
    with pytest.raises(Rejected, match=reason):
        await Cluster(backend).rooms.open(room)
    assert not backend.rows("$rooms")
