"""People who say lines on one topic and hear what others say, each through one pod at a time: streams, and the recovery of channels."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

import msgspec

from gamecluster.core.events import Called
from gamecluster.core.messages import Fields, Incarnation, Tables
from gamecluster.services.stream_view import StreamView
from gamecluster.services.streams import MOST_KEPT

from .clients import Client, Cluster

TOPIC = "chat:lobby"
BEAT_SECONDS = 1.0


class Log(Protocol):
    tables: Tables


class World(Cluster, Protocol):
    def copy(self, pod: Incarnation) -> Tables:
        """What is committed there."""

    def is_there(self, pod: Incarnation) -> bool:
        """Whether it would answer a heartbeat."""

    def truth(self) -> Tables:
        """What the entries give that anybody has committed."""

    said: dict[tuple[str, int], str]
    """What was heard by anybody: epoch and offset → line."""


class Speaker(Client):
    """Says one line after another; each is repeated, with its nonce, until it is answered. ``keep``: of the topic's lines."""

    def __init__(self, cluster: World, random: Random, player: str, think: float) -> None:
        super().__init__(cluster, random, player, True, 1, think)
        self._world = cluster
        self.answers: dict[int, int] = {}  # line → its offset
        self.heard = ("", 0)
        self.heard_lines = 0
        self._number = 0
        self._is_asking = False

    @property
    def idle(self) -> bool:
        is_in = self.joined and self.pod is not None and self._world.is_there(self.pod)
        return is_in and not self.playing and not self._is_asking and self._number in (0, *self.answers)

    def bounds(self) -> tuple[int, int]:
        return 0, 0

    # --- connection

    def _join(self, life: int) -> None:
        """Like a client that comes back: it says how far it has come, and the pod tells it the rest, once it knows that much."""
        if life != self._life or self.pod is None:
            return
        view = self._view()
        if self.heard[0] not in ("", view.epoch) or self.heard[1] > view.offset:
            self._call("sync", {}, life, lambda ok, response: self._synced(life, ok))
        else:
            self._let_in(view, life)

    def _synced(self, life: int, ok: bool) -> None:
        if life != self._life:
            return
        if not ok:
            self._soon(self._random.uniform(0.05, 0.2), self._join)
            return
        view = self._view()
        if self.heard[0] != view.epoch or self.heard[1] > view.offset:
            self._wrong(
                f"has heard {self.heard}, and {self.pod} is at {(view.epoch, view.offset)} after it has caught up"
            )
        self._let_in(view, life)

    def _let_in(self, view: StreamView, life: int) -> None:
        self._catch_up(view)
        self.joined = True
        self._soon(self._think * self._random.random(), self._say)
        self._soon(BEAT_SECONDS * self._random.random(), self._beat)

    def _beat(self, life: int) -> None:
        """One that has nothing to say finds by its heartbeat that its pod is gone."""
        if life != self._life or self.pod is None:
            return
        if self._world.is_there(self.pod):
            self._soon(BEAT_SECONDS, self._beat)
        else:
            self.hang_up()

    def begins_again(self) -> None:
        """The pod's copy was replaced: what that has skipped is told from it."""
        if self.joined:
            self._catch_up(self._view())

    def _catch_up(self, view: StreamView) -> None:
        missed = view.shown_after(self.heard[1])
        if missed is None:
            self._wrong(f"has heard {self.heard}, and {self.pod} at {view.offset} does not have the rest")
        for line in missed or ():
            self._take(line["payload"])

    # --- hearing

    def hears(self, topic: str, payload: bytes) -> None:
        if self.joined and topic == TOPIC:
            self._take(msgspec.json.decode(payload))

    def _take(self, line: Fields) -> None:
        at = line["epoch"], line["offset"]
        if self.heard[0] not in ("", at[0]) or at[1] != self.heard[1] + 1:
            self._wrong(f"heard {at} after {self.heard} at {self.pod}")
        if self._world.said.setdefault(at, line["body"]) != line["body"]:
            self._wrong(f"heard {line}, where others heard {self._world.said[at]!r}")
        self.heard = at
        self.heard_lines += 1

    # --- saying

    def _say(self, life: int) -> None:
        if life != self._life or not self.joined or self._is_asking:
            return
        if self._number in (0, *self.answers):
            if not self.playing:
                return
            self._number += 1
        number, body = self._number, f"{self.player}/{self._number}"
        args = {"topic": TOPIC, "lines": [["said", {"body": body}]], "keep": MOST_KEPT, "nonce": body}
        self._is_asking = True
        self._call("append", args, life, lambda ok, response: self._was_said(life, number, ok, response))
        self._cluster.at(self._cluster.now + self._random.uniform(0.4, 3.0), self._miss_line, life, number)
        if self._random.random() < 0.02:
            self._cluster.at(self._cluster.now + self._random.uniform(0.0, 0.01), self._goes_elsewhere, life)

    def _was_said(self, life: int, number: int, ok: bool, response: Fields) -> None:
        if life != self._life:
            return
        self._is_asking = False
        if not ok:
            self.refusals[str(response.get("reason"))] += 1
            self._soon(self._random.uniform(0.02, 0.2), self._say)
            return
        offset = response["offset"]
        if self.answers.setdefault(number, offset) != offset:
            self._wrong(f"was answered {offset} for line {number}, and {self.answers[number]} before")
        for where, tables in (
            (self.pod, self._world.copy(self.pod or Incarnation(""))),
            ("truth", self._world.truth()),
        ):
            row = tables.get(f"$stream:{TOPIC}", {}).get(str(offset))
            if row is None or row["payload"] != {"body": f"{self.player}/{number}"}:
                self._wrong(f"was answered {offset} for line {number}, and {where} has {row} there")
        self._soon(self._think * self._random.random() * 2, self._say)

    def _miss_line(self, life: int, number: int) -> None:
        if life == self._life and number not in self.answers and self._is_asking:
            self.hang_up()

    def _goes_elsewhere(self, life: int) -> None:
        if life == self._life:
            self.lost()

    def _leave_behind(self) -> int:
        self._is_asking = False
        return super()._leave_behind()

    def hang_up(self) -> None:
        self.lost()

    def _call(self, verb: str, args: Fields, life: int, answered: Any) -> None:
        if verb == "sync":
            self._cluster.at(self._cluster.now + self._random.uniform(0.4, 3.0), self._miss_join, life)
        self._cluster.ask(self, lambda request: Called(-request, "streams", verb, args), answered)

    def _view(self) -> StreamView:
        tables = self._world.copy(self.pod or Incarnation(""))
        return StreamView(lambda table: tables.get(table, {}), TOPIC)

    def _wrong(self, text: str) -> None:
        self._cluster.violated("stream", f"{self.player} {text}")


def check_end(tables: Tables, speakers: list[Speaker]) -> str | None:
    """Every answered line is there once, where it was said to be; the numbers have no holes; everybody has heard all."""
    view = StreamView(lambda table: tables.get(table, {}), TOPIC)
    lines = view.lines(MOST_KEPT)
    bodies = [line["payload"]["body"] for line in lines]
    if [line["offset"] for line in lines] != list(range(1, len(lines) + 1)):
        return f"the offsets have holes: {[line['offset'] for line in lines]}"
    if len(set(bodies)) != len(bodies):
        return f"lines were added twice: {sorted(body for body in bodies if bodies.count(body) > 1)}"
    for speaker in speakers:
        own = [body for body in bodies if body.startswith(f"{speaker.player}/")]
        if own != [f"{speaker.player}/{number}" for number in range(1, len(own) + 1)] or len(own) != len(
            speaker.answers
        ):
            return f"{speaker.player} was answered {speaker.answers}, and of its lines there are {own}"
        if wrong := {n: at for n, at in speaker.answers.items() if bodies[at - 1] != f"{speaker.player}/{n}"}:
            return f"{speaker.player} was told {wrong}, where other lines are"
        if speaker.heard[1] != len(lines) or speaker.heard_lines != len(lines):
            return f"{speaker.player} has heard {speaker.heard_lines} lines, up to {speaker.heard}, of {len(lines)}"
    return None
