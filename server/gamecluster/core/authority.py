"""What the leader alone does: it runs the rules, once each and one at a time, and answers each of a player's moves once.

System tables, replicated like the game's own, unseen by clients:

| table       | key                | fields                                                              |
| ----------- | ------------------ | ------------------------------------------------------------------- |
| ``$players`` | player             | stay, nonce, node, connection, connected, n                         |
| ``$answers`` | ``player/n mod 32`` | n, ok, response: the last 32 answers of the stay (rule 13)          |
| ``$cluster`` | ``failover``       | the last change of leader, for people                               |

Others are the services' own (``gamecluster.services``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .messages import Broadcast, Call, Fields, Incarnation, JoinGame, LeaveGame, Move, Op, Reply, Request, Tables

ANSWERS = 32
EARLY_SECONDS = 0.002
SPARED_SECONDS = 2.0
"""A leader frees nothing of a pod before it has led for so long: an earlier one may have confirmed it (``services.tenure``)."""
PLAYERS, ANSWERS_TABLE, CLUSTER = "$players", "$answers", "$cluster"
OWN_TABLES = frozenset((PLAYERS, ANSWERS_TABLE, CLUSTER))


class Outcome(Protocol):
    @property
    def ok(self) -> bool: ...
    @property
    def response(self) -> Fields: ...
    @property
    def ops(self) -> list[Op]: ...
    @property
    def broadcasts(self) -> list[Broadcast]: ...
    @property
    def error(self) -> str | None: ...


class Rules(Protocol):
    """The game, as ``gamecluster.game.Runtime`` runs it. ``load`` raises ValueError on a state that is not the game's."""

    @property
    def tick_rate(self) -> int: ...
    @property
    def leave_after_seconds(self) -> float: ...
    def load(self, tables: Tables) -> None: ...
    def tables(self) -> Tables: ...
    def join(self, player_id: str) -> Outcome: ...
    def leave(self, player_id: str) -> Outcome: ...
    def move(self, player_id: str, event: str, payload: Fields) -> Outcome: ...
    def tick(self, seconds: float) -> Outcome: ...


class Services(Protocol):
    """The cluster's services, as ``gamecluster.services.Services`` runs them. Their state are system tables."""

    def load(self, tables: Tables, ahead: Sequence[Op] = ()) -> None:
        """``ahead``: what is in ``tables`` and not committed yet."""
        ...

    def call(self, service: str, verb: str, args: Fields, origin: Incarnation) -> Outcome: ...
    def pods(self) -> set[Incarnation]:
        """Pods that hold what ends with them."""
        ...

    def gone(self, pods: set[Incarnation]) -> Outcome: ...
    def restored(self) -> Outcome:
        """The state goes on from an earlier one than some were shown."""
        ...


@dataclass(frozen=True)
class Draft:
    """An entry before it has its number."""

    ops: list[Op]
    replies: list[Reply]
    broadcasts: list[Broadcast]


@dataclass(frozen=True)
class Asked:
    """A request, by whom it came, and the position that its entry will have."""

    origin: Incarnation
    request: int
    epoch: int
    seq: int

    def reply(self, ok: bool, response: Fields) -> Reply:
        return Reply(self.origin, self.request, ok, response)

    def refuse(self, reason: str, **more: object) -> Draft:
        return Draft([], [self.reply(False, {"reason": reason, **more})], [])


class Authority:
    def __init__(
        self,
        rules: Rules | None,
        randomness: random.Random,
        services: Services | None = None,
        adopts_stays: bool = False,
    ) -> None:
        """``adopts_stays``: a player who comes with a stay, of another game of the cluster, keeps it here."""
        self._adopts_stays = adopts_stays
        self._rules = rules
        self._services = services
        self._random = randomness
        self._players: dict[str, Fields] = {}
        self._answers: dict[str, Fields] = {}
        self._leave_at: dict[str, float] = {}
        self._pods: set[Incarnation] = set()  # that may have connected players
        self._ticked_at = self._tick_due = self._loaded_at = 0.0
        self._unplayable: str | None = None
        self._errors: list[str] = []

    @property
    def players(self) -> int:
        """Also those who are away for the moment."""
        return len(self._players)

    @property
    def pods(self) -> set[Incarnation]:
        """Those that may have connected players."""
        return self._pods

    @property
    def is_waiting(self) -> bool:
        """Somebody's grace runs."""
        return bool(self._leave_at)

    def take_errors(self) -> list[str]:
        """Tracebacks of rules that failed, for the game's developer."""
        errors, self._errors = self._errors, []
        return errors

    def load(self, tables: Tables, now: float, ahead: Sequence[Op] = ()) -> list[Op]:
        """A new leader goes on from its log. Players without a socket get their whole grace again.

        Returns what the game's present class adds to the state: fields that an earlier version did not have.
        """
        self._players = {p: dict(row) for p, row in tables.get(PLAYERS, {}).items()}
        self._answers = dict(tables.get(ANSWERS_TABLE, {}))
        self._leave_at = {p: now + self._grace for p, row in self._players.items() if not row["connected"]}
        self._pods = {Incarnation(row["node"]) for row in self._players.values() if row["connected"]}
        self._ticked_at = self._loaded_at = now
        if self._services is not None:
            own = {n: rows for n, rows in tables.items() if n.startswith("$") and n not in OWN_TABLES}
            self._services.load(own, ahead)
        if self._rules is None:
            return []
        self._tick_due = now + (1 / self._rules.tick_rate if self._rules.tick_rate > 0 else 0.0)
        visible = {name: rows for name, rows in tables.items() if not name.startswith("$")}
        try:
            self._rules.load(visible)
        except ValueError as error:
            self._unplayable = f"the game cannot load its state: {error}"
            self._errors.append(self._unplayable)
            return []
        self._unplayable = None
        return _added(visible, self._rules.tables())

    def restored(self) -> list[Op]:
        """What has to change because the state goes on from an earlier one than some were shown. After ``load``."""
        return list(self._noted(self._services.restored()).ops) if self._services is not None else []

    def run(self, body: Request, asked: Asked, now: float) -> Draft:
        if isinstance(body, Call):
            return self._call(body, asked)
        if self._unplayable is not None:
            return asked.refuse(self._unplayable)
        match body:
            case JoinGame():
                return self._join(body, asked)
            case LeaveGame():
                return self._leave(body, asked, now)
            case Move():
                return self._move(body, asked)

    def due(self, now: float) -> list[Draft]:
        """Players whose grace is over leave."""
        if not self._leave_at or self._unplayable is not None:
            return []
        return [self._end_stay(player) for player, at in list(self._leave_at.items()) if at <= now]

    def tick(self, now: float) -> Draft | None:
        if self._rules is None or self._rules.tick_rate <= 0 or self._unplayable is not None:
            return None
        period = 1 / self._rules.tick_rate
        if now < self._tick_due - EARLY_SECONDS:
            return None
        passed, self._ticked_at = now - self._ticked_at, now
        self._tick_due = max(self._tick_due + period, now)  # on a schedule, but no burst after a stall
        outcome = self._noted(self._rules.tick(passed))
        if not outcome.ok or not (outcome.ops or outcome.broadcasts):
            return None
        return Draft(list(outcome.ops), [], list(outcome.broadcasts))

    def disconnect_from(self, is_gone: Callable[[Incarnation], bool], now: float) -> Draft | None:
        """Players whose pod is gone lose their connection, as if their sockets had closed; what it held for services ends."""
        gone = {pod for pod in self._pods if is_gone(pod)}
        ended = self._end_with(is_gone, now)
        if not gone:
            return ended
        self._pods -= gone
        ops: list[Op] = ended.ops if ended else []
        for player, row in self._players.items():
            if row["connected"] and row["node"] in gone:
                row["connected"] = False
                self._leave_at[player] = now + self._grace
                ops.append((PLAYERS, player, {"connected": False}))
        return Draft(ops, [], ended.broadcasts if ended else []) if ops else None

    def _end_with(self, is_gone: Callable[[Incarnation], bool], now: float) -> Draft | None:
        if self._services is None or now - self._loaded_at <= SPARED_SECONDS:
            return None
        gone = {pod for pod in self._services.pods() if is_gone(pod)}
        if not gone:
            return None
        outcome = self._noted(self._services.gone(gone))
        return Draft(list(outcome.ops), [], list(outcome.broadcasts)) if outcome.ops else None

    @property
    def _grace(self) -> float:
        return self._rules.leave_after_seconds if self._rules else 0.0

    def _call(self, body: Call, asked: Asked) -> Draft:
        if self._services is None:
            return asked.refuse("no services")
        outcome = self._noted(self._services.call(body.service, body.verb, body.args, asked.origin))
        if not outcome.ok:
            return Draft([], [asked.reply(False, outcome.response)], [])
        response = {**outcome.response, "epoch": asked.epoch, "seq": asked.seq}
        return Draft(list(outcome.ops), [asked.reply(True, response)], list(outcome.broadcasts))

    def _join(self, body: JoinGame, asked: Asked) -> Draft:
        if self._rules is None:
            return asked.refuse("no game")
        row = self._players.get(body.player)
        if row is None:
            return self._begin_stay(body, asked, self._rules)
        if body.stay != row["stay"] and body.nonce != row["nonce"]:
            return asked.refuse("player taken")
        connection: Fields = {
            "nonce": body.nonce,
            "node": asked.origin,
            "connection": body.connection,
            "connected": True,
        }
        row.update(connection)
        self._pods.add(asked.origin)
        self._leave_at.pop(body.player, None)
        return Draft([(PLAYERS, body.player, connection)], [asked.reply(True, self._welcome(body, asked, True))], [])

    def _begin_stay(self, body: JoinGame, asked: Asked, rules: Rules) -> Draft:
        outcome = self._noted(rules.join(body.player))
        if not outcome.ok:
            return Draft([], [asked.reply(False, outcome.response)], [])
        brought = body.stay if self._adopts_stays else None
        row: Fields = {
            "stay": brought or f"{self._random.getrandbits(96):024x}",
            "nonce": body.nonce,
            "node": asked.origin,
            "connection": body.connection,
            "connected": True,
            "n": 0,
        }
        self._players[body.player] = dict(row)
        self._pods.add(asked.origin)
        ops = [*outcome.ops, (PLAYERS, body.player, row)]
        return Draft(ops, [asked.reply(True, self._welcome(body, asked, False))], list(outcome.broadcasts))

    def _welcome(self, body: JoinGame, asked: Asked, resumed: bool) -> Fields:
        row = self._players[body.player]
        return {
            "player": body.player,
            "stay": row["stay"],
            "n": row["n"],
            "resumed": resumed,
            "epoch": asked.epoch,
            "seq": asked.seq,
        }

    def _leave(self, body: LeaveGame, asked: Asked, now: float) -> Draft:
        row = self._players.get(body.player)
        if row is None or (row["node"], row["connection"]) != (asked.origin, body.connection):
            return Draft([], [asked.reply(True, {})], [])
        if body.wanted:
            ended = self._end_stay(body.player)
            return Draft(ended.ops, [asked.reply(True, {})], ended.broadcasts)
        row["connected"] = False
        self._leave_at[body.player] = now + self._grace
        return Draft([(PLAYERS, body.player, {"connected": False})], [asked.reply(True, {})], [])

    def _end_stay(self, player: str) -> Draft:
        self._leave_at.pop(player, None)
        self._players.pop(player)
        outcome = self._noted(self._rules.leave(player)) if self._rules else None
        ops: list[Op] = list(outcome.ops) if outcome and outcome.ok else []
        ops.append((PLAYERS, player, None))
        keys = [f"{player}/{slot}" for slot in range(ANSWERS)]
        ops += [(ANSWERS_TABLE, key, None) for key in keys if self._answers.pop(key, None) is not None]
        return Draft(ops, [], list(outcome.broadcasts) if outcome and outcome.ok else [])

    def _move(self, body: Move, asked: Asked) -> Draft:
        row = self._players.get(body.player)
        if self._rules is None or row is None or (row["node"], row["connection"]) != (asked.origin, body.connection):
            return asked.refuse("not joined")
        if body.n is not None and body.n <= row["n"]:
            return self._again(body, asked)
        if body.n is not None and body.n != row["n"] + 1:
            return asked.refuse("gap", expected=row["n"] + 1)
        outcome = self._noted(self._rules.move(body.player, body.event, body.payload))
        response = {"epoch": asked.epoch, "seq": asked.seq, **outcome.response} if outcome.ok else outcome.response
        ops = list(outcome.ops)
        if body.n is not None:
            ops += self._remember(body.player, row, body.n, outcome.ok, response)
        if not row["connected"]:  # its pod was away for a while, its socket was not
            row["connected"] = True
            self._leave_at.pop(body.player, None)
            ops.append((PLAYERS, body.player, {"connected": True}))
        return Draft(ops, [asked.reply(outcome.ok, response)], list(outcome.broadcasts))

    def _again(self, body: Move, asked: Asked) -> Draft:
        assert body.n is not None
        answer = self._answers.get(f"{body.player}/{body.n % ANSWERS}")
        if answer is None or answer["n"] != body.n:
            return asked.refuse("forgotten", last=self._players[body.player]["n"])
        return Draft([], [asked.reply(answer["ok"], answer["response"])], [])

    def _remember(self, player: str, row: Fields, n: int, ok: bool, response: Fields) -> list[Op]:
        row["n"] = n
        key, answer = f"{player}/{n % ANSWERS}", {"n": n, "ok": ok, "response": response}
        self._answers[key] = answer
        return [(PLAYERS, player, {"n": n}), (ANSWERS_TABLE, key, answer)]

    def _noted(self, outcome: Outcome) -> Outcome:
        if outcome.error is not None:
            self._errors.append(outcome.error)
        return outcome


def _added(before: Tables, after: Tables) -> list[Op]:
    """Ops that make ``before`` what the game made of it when it was loaded."""
    ops: list[Op] = []
    for name, rows in after.items():
        old = before.get(name, {})
        changed = {key: {f: v for f, v in row.items() if f not in old.get(key, {})} for key, row in rows.items()}
        ops += [(name, key, fields) for key, fields in changed.items() if fields]
    return ops
