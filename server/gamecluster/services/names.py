"""Names that one pod holds at a time: ``$names``: name → ``{"pod": incarnation, "id": of the holder's own}``.

Whether a holder may still answer by its own copy is ``tenure``'s.
"""

from __future__ import annotations

from ..checks import text
from ..core.messages import Fields, Incarnation, name_of
from ..rules import Rejected
from .service import Service

TABLE = "$names"
TOPIC = "$names"
"""Of what rules send to holders: every pod gets it with the entry, and the one whose handler it names takes it."""
LONGEST = 200


class Names(Service):
    name = "names"
    verbs = frozenset({"hold", "register", "tell", "unregister"})
    holders = TABLE

    def register(self, origin: Incarnation, name: str, id: str) -> Fields | None:
        """For the pod that asks. Refused if another holds it: ``{"reason": "name taken", "node": …}``."""
        if not 1 <= len(text(name)) <= LONGEST:
            raise Rejected("bad name", detail=f"a name has 1 to {LONGEST} characters; this one has {len(name)}")
        row = self._ledger.rows(TABLE).get(name)
        if row is not None and (row["pod"], row["id"]) != (origin, id):
            raise Rejected("name taken", node=name_of(row["pod"]))
        if row is None:
            self._ledger.put(TABLE, name, {"pod": origin, "id": id})
        return None

    def unregister(self, origin: Incarnation, name: str, id: str) -> None:
        """Harmless for a name that this holder has not (any more)."""
        row = self._ledger.rows(TABLE).get(name)
        if row is not None and (row["pod"], row["id"]) == (origin, id):
            self._ledger.delete(TABLE, name)

    def hold(self, origin: Incarnation) -> None:
        """Changes nothing: that it is answered is what its sender wants to know."""

    def tell(self, origin: Incarnation, name: str, event: str, payload: Fields) -> Fields:
        """``{"sent": whether somebody holds it}``. To be asked once."""
        return {"sent": self.send(name, event, payload)}

    def send(self, name: str, event: str, payload: Fields) -> bool:
        """Of a rule, to whoever holds the name now; False: nobody does, and nothing is sent."""
        row = self._ledger.rows(TABLE).get(name)
        if row is not None:
            self._ledger.broadcast(TOPIC, event, {"name": name, **row, "payload": payload})
        return row is not None

    def gone(self, pods: set[Incarnation]) -> None:
        for name, row in list(self._ledger.rows(TABLE).items()):
            if row["pod"] in pods:
                self._ledger.delete(TABLE, name)
