"""Where every room is: the part of a configuration master that the GameState plays for rooms (PacificA, Microsoft Research 2008).

| table    | key         | fields                                                                                             |
| -------- | ----------- | -------------------------------------------------------------------------------------------------- |
| ``$rooms``  | room        | kind, epoch, born, version, holder, backups, joining, to, players, done, at (``core.messages.Placement``) |
| ``$kept``   | room        | tables: a copy at epoch and seq, if its class asks for one; done: of the room that was lost            |
| ``$placed`` | ``"highest"`` | epoch, version: at least those of every room that is no more, so no room has the same ones twice       |

``done``: the number of the room's last call of a service; ``at``: Unix milliseconds of its making.

| who asks   | verb                               | what follows                                                           |
| ---------- | ---------------------------------- | ---------------------------------------------------------------------- |
| anybody    | open                               | the room is made, empty, unless it is there                            |
| its holder | caught_up, drop                    | ``backups`` are others: version + 1                                    |
| its holder | hand_over                          | the backup ``to`` holds it, and it is a backup: epoch + 1, version + 1 |
| its holder | deliver, end                       | its call is run once; the room is no more                              |
| its holder | keep                               | a copy of it, from which it goes on if all others are lost              |
| the placer | place                              | ``to``; others joining, less backups: version + 1                      |
| the placer | lose: pods are silent              | their rooms go to the first backup that is not: epoch + 1, version + 1 |
| (authority) | gone: pods are out of their tenure | the same, and rooms of which no copy is left are no more               |
| any pod    | hold                               | nothing: it is alive                                                   |

Only a backup becomes the holder, and every backup has all that was acknowledged in the room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

import msgspec

from ..checks import Mismatch, text
from ..core.messages import Fields, Incarnation, Placement, Tables
from ..rules import Rejected
from .ledger import Ledger
from .once import Run
from .placements import TABLE, Placements
from .service import Service

HIGHEST_TABLE, HIGHEST = "$placed", "highest"
KEPT = "$kept"
KEPT_BYTES_AT_MOST = 262_144
ROOMS_AT_MOST = 20_000
COPIES_AT_MOST = 5
PLAYERS_AT_MOST = 1_000
ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
LEAP = 1_000
"""Of all epochs and versions when an earlier state is restored: beyond what there was meanwhile."""


def placement_of(row: Fields) -> Placement:
    """A row of ``$rooms`` as a value."""
    return Placement(
        row["kind"],
        row["epoch"],
        row["version"],
        row["holder"],
        tuple(row["backups"]),
        tuple(row["joining"]),
        row["to"],
        tuple(row["players"]),
        row["born"],
    )


class Rooms(Service):
    """``now``: Unix milliseconds. ``run(origin, service, verb, args)``: a call of another service, which is undone when it raises."""

    name = "rooms"
    verbs = frozenset({"open", "caught_up", "drop", "hand_over", "place", "lose", "end", "deliver", "keep", "hold"})

    def __init__(self, ledger: Ledger, now: Callable[[], int], run: Run) -> None:
        super().__init__(ledger)
        self._now = now
        self._run = run
        self._placements = Placements(ledger)

    def pods(self) -> set[Incarnation]:
        return set(self._placements.pods())

    # --- by anybody

    def open(
        self,
        origin: Incarnation,
        id: str,
        kind: str,
        pods: Sequence[Incarnation],
        copies: int,
        players: Sequence[str] = (),
    ) -> Fields:
        """``pods``: who may hold it, as the asker sees them; of equals the first. ``players``: who may join; nobody named: everybody."""
        if self.row(checked_id(id)) is None:
            self._check_new(pods, copies, players)
            holder = min(pods, key=self._placements.held)
            others = self._by_copies(holder, pods)
            highest = self._ledger.rows(HIGHEST_TABLE).get(HIGHEST, {"epoch": 0, "version": 0})
            row = {
                "kind": text(kind),
                "epoch": highest["epoch"] + 1,
                "born": highest["epoch"] + 1,
                "version": highest["version"] + 1,
                "holder": holder,
                "backups": others[: copies - 1],
                "joining": [],
                "to": None,
                "players": list(players),
                "done": self._ledger.rows(KEPT).get(id, {"done": 0})["done"],
                "at": self._now(),
            }
            self._placements.put(id, row)
        return {"room": id}

    def hold(self, origin: Incarnation) -> None:
        """Changes nothing: that it is answered is what its sender wants to know."""

    # --- by its holder

    def caught_up(self, origin: Incarnation, id: str, version: int, pod: Incarnation) -> None:
        """``pod``, of ``joining``, has all that was acknowledged, and is waited for from now on."""
        row = self._held_by(origin, id)
        if pod in row["backups"]:
            return
        if row["version"] != version or pod not in row["joining"]:
            raise stale(row)
        self._change(id, row, {"backups": [*row["backups"], pod], "joining": _without(row["joining"], [pod])})

    def drop(self, origin: Incarnation, id: str, version: int, pod: Incarnation) -> None:
        """``pod`` can't be reached: it is no backup any more, and not to become one."""
        row = self._held_by(origin, id)
        if pod in row["backups"] or pod in row["joining"]:
            if row["version"] != version:
                raise stale(row)
            self._drop(id, row, [pod])

    def hand_over(self, origin: Incarnation, id: str, version: int, to: Incarnation) -> None:
        """``to``, a backup, holds the room from now on, and who held it is a backup in its place."""
        row = self._found(id)
        if row["holder"] == to and row["version"] > version:
            return
        if row["holder"] != origin or row["version"] != version or to not in row["backups"]:
            raise stale(row)
        self._move(id, row, to, [origin if pod == to else pod for pod in row["backups"]])

    def end(self, origin: Incarnation, id: str, epoch: int) -> None:
        """The room is over. Harmless if it is gone."""
        row = self.row(id)
        if row is not None:
            if (row["holder"], row["epoch"]) != (origin, epoch):
                raise stale(row)
            self._delete(id, row)
            self._ledger.delete(KEPT, id)

    def keep(self, origin: Incarnation, id: str, epoch: int, seq: int, tables: Tables) -> None:
        """``tables``: all of it, at ``seq``. Raises Rejected: ``stale``, ``too large``."""
        if self._held_by(origin, id)["epoch"] != epoch:
            raise stale(self._found(id))
        if (size := len(msgspec.json.encode(tables))) > KEPT_BYTES_AT_MOST:
            raise Rejected(
                "too large", detail=f"a room of which a copy is kept has up to {KEPT_BYTES_AT_MOST} bytes, not {size}"
            )
        self._ledger.put(KEPT, id, {"epoch": epoch, "seq": seq, "tables": tables, "done": 0})

    def deliver(
        self, origin: Incarnation, id: str, n: int, service: str, verb: str, args: Fields, epoch: int | None = None
    ) -> Fields:
        """A call of the room, of number ``n``, which grows from call to call. A repeat is not run, and answered with ``{}``.

        Response: the call's, or ``{"refused": its refusal}``: it won't be run any more. Refused with ``stale`` to one who does not
        hold the room (in ``epoch``, if it says so): the call is the holder's to make.
        """
        row = self._held_by(origin, id)
        if epoch is not None and row["epoch"] != epoch:
            raise stale(row)
        if n <= row["done"]:
            return {}
        before = self._ledger.mark()
        try:
            response = self._run_inner(origin, service, verb, args)
        except Exception as error:
            self._ledger.undo(before)
            response = {"refused": _refusal(error)}
        self._placements.put(id, {"done": n})
        return response

    # --- by the placer

    def place(self, origin: Incarnation, changes: list[Fields]) -> None:
        """``changes``: ``{"id", "version"}`` and some of ``joining``: these only; ``to``: a backup, or None; ``drop``: no backups any more.
        One of another version than the room's is skipped."""
        for change in changes:
            row = self.row(change["id"])
            if row is not None and row["version"] == change["version"]:
                self._place(change["id"], row, change)

    def lose(self, origin: Incarnation, pods: list[Incarnation], at_most: int | None = None) -> Fields:
        """``pods`` are silent. A room of which no other pod has all stays as it is. ``at_most`` so many are changed, those first that wait
        for a holder. ``{"lost": how many stay, "more": whether some are left to be changed}``."""
        lost, is_all = self._lose(set(pods), at_most)
        return {"lost": len(lost), "more": not is_all}

    def gone(self, pods: set[Incarnation]) -> None:
        for id in self._lose(pods)[0]:
            row = self._found(id)
            if id in self._ledger.rows(KEPT):
                self._ledger.put(KEPT, id, {"done": row["done"]})
            self._delete(id, row)

    def restored(self) -> None:
        """The state goes on from an earlier one: what was placed since must not be taken for newer."""
        for id, row in list(self._ledger.rows(TABLE).items()):
            self._placements.put(id, {"epoch": row["epoch"] + LEAP, "version": row["version"] + LEAP})
        highest = self._ledger.rows(HIGHEST_TABLE).get(HIGHEST, {"epoch": 0, "version": 0})
        self._ledger.put(HIGHEST_TABLE, HIGHEST, {key: value + LEAP for key, value in highest.items()})

    # --- reads

    def row(self, id: str) -> Fields | None:
        return self._ledger.rows(TABLE).get(id)

    def _found(self, id: str) -> Fields:
        row = self.row(id)
        if row is None:
            raise Rejected("unknown room", room=id)
        return row

    def _held_by(self, origin: Incarnation, id: str) -> Fields:
        row = self._found(id)
        if row["holder"] != origin:
            raise stale(row)
        return row

    # --- changes

    def _check_new(self, pods: Sequence[Incarnation], copies: int, players: Sequence[str]) -> None:
        if type(copies) is not int or not 1 <= copies <= COPIES_AT_MOST:
            raise Rejected("bad copies", detail=f"copies: expected 1 to {COPIES_AT_MOST}, got {copies!r}")
        if not pods:
            raise Rejected("no pods", detail="there is no pod that may hold a room")
        if len(players) > PLAYERS_AT_MOST:
            raise Rejected("too many players", detail=f"a room is for at most {PLAYERS_AT_MOST} that are named")
        if len(self._ledger.rows(TABLE)) >= ROOMS_AT_MOST:
            raise Rejected("too many rooms", detail=f"a cluster has at most {ROOMS_AT_MOST}: end those that are over")

    def _by_copies(self, holder: Incarnation, pods: Sequence[Incarnation]) -> list[Incarnation]:
        """The others, those first that have least for ``holder``: should it be lost, all of them share its rooms."""
        at = self._placements
        others = [pod for pod in dict.fromkeys(pods) if pod != holder]
        return sorted(others, key=lambda pod: (at.kept_for(holder, pod), at.kept(pod)))

    def _change(self, id: str, row: Fields, changed: Fields) -> None:
        """Of those who hold it or are about to."""
        changed["version"] = row["version"] + 1
        self._placements.put(id, changed)

    def _move(self, id: str, row: Fields, holder: Incarnation, backups: list[Incarnation], **more: object) -> None:
        moved = {"holder": holder, "backups": backups, "to": None, "epoch": row["epoch"] + 1}
        self._change(id, row, {**moved, **more})

    def _drop(self, id: str, row: Fields, pods: Collection[Incarnation]) -> None:
        changed: Fields = {"backups": _without(row["backups"], pods), "joining": _without(row["joining"], pods)}
        if row["to"] in pods:
            changed["to"] = None
        self._change(id, row, changed)

    def _place(self, id: str, row: Fields, change: Fields) -> None:
        if any(pod in row["backups"] or pod in row["joining"] for pod in change.get("drop", ())):
            self._drop(id, row, change["drop"])
            row = self._found(id)
        wanted: list[Incarnation] = change["joining"] if "joining" in change else row["joining"]
        joining = _without(list(dict.fromkeys(wanted)), [row["holder"], *row["backups"]])
        if joining != row["joining"]:
            self._change(id, row, {"joining": joining})
        to = change.get("to", row["to"])
        if to != row["to"] and (to is None or to in row["backups"]):
            self._placements.put(id, {"to": to})

    def _lose(self, silent: set[Incarnation], at_most: int | None = None) -> tuple[list[str], bool]:
        """Rooms of which no pod but these has all, which are not changed; and whether these are all."""
        lost, rows = [], self._ledger.rows(TABLE)
        rooms = sorted(self._placements.rooms_of(silent), key=lambda id: rows[id]["holder"] not in silent)
        changed = 0
        for id in rooms:
            row = rows[id]
            backups = _without(row["backups"], silent)
            if row["holder"] in silent and not backups:
                lost.append(id)
                continue
            if changed == at_most:
                return lost, False
            changed += 1
            if row["holder"] in silent:
                self._move(id, row, backups[0], backups[1:], joining=_without(row["joining"], silent))
            else:
                self._drop(id, row, silent)
        return lost, True

    def _delete(self, id: str, row: Fields) -> None:
        highest = self._ledger.rows(HIGHEST_TABLE).get(HIGHEST, {"epoch": 0, "version": 0})
        raised = {field: max(value, row[field]) for field, value in highest.items()}
        if raised != highest:
            self._ledger.put(HIGHEST_TABLE, HIGHEST, raised)
        self._placements.delete(id)

    def _run_inner(self, origin: Incarnation, service: str, verb: str, args: Fields) -> Fields:
        if service == self.name and verb != "open":
            raise Rejected("unknown service", detail="of rooms, a room can open others, no more")
        return self._run(origin, service, verb, args) or {}


def stale(row: Fields) -> Rejected:
    """What was asked is about an earlier placement."""
    return Rejected("stale", epoch=row["epoch"], version=row["version"], holder=row["holder"])


def checked_id(id: str) -> str:
    """Raises Rejected, which says what would be right."""
    if not ID.fullmatch(text(id)):
        raise Rejected("bad room", detail=f"a room's id has 1 to 100 letters, digits and _ . : -, not {ascii(id)[:40]}")
    return id


def _without(pods: Sequence[Incarnation], these: Collection[Incarnation]) -> list[Incarnation]:
    return [pod for pod in pods if pod not in these]


def _refusal(error: Exception) -> Fields:
    if isinstance(error, Rejected):
        return error.response
    if isinstance(error, Mismatch):
        return {"reason": "bad payload", "detail": str(error)}
    return {"reason": "internal error", "detail": f"{type(error).__name__}: {error}"}
