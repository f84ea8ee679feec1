"""A matchmaker for tests."""

from __future__ import annotations

from gamecluster.matching import Range
from gamecluster.matchmaking import Matchmaker


class Duels(Matchmaker):
    ranges = {"skill": Range(within=200, per_second=200)}  # noqa: RUF012
    match_topic = "duel:{match}"
