"""What calls that must not be done twice were answered: ``$nonces``: nonce → ``{"at": ms, "said": response}``.

A call is repeated within its ten seconds only, after a failover; each is remembered for a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from ..core.messages import Fields, Incarnation
from .ledger import Ledger
from .service import Service

TABLE = "$nonces"
KEPT_MILLISECONDS = 60_000
AT_A_TIME = 2
"""Old ones that each new one drops: so there are never more than a minute's."""
SWEPT_AT_A_TIME = 1_000


class Nonces(Service):
    """``now``: the leader's wall clock, in ms."""

    name = "nonces"
    verbs = frozenset({"sweep"})

    def __init__(self, ledger: Ledger, now: Callable[[], int]) -> None:
        super().__init__(ledger)
        self.now = now

    def once(self, nonce: str, call: Callable[[], Fields]) -> Fields:
        """What ``call`` returns, or returned when this nonce was new."""
        known = self._ledger.rows(TABLE).get(nonce)
        if known is not None:
            said: Fields = known["said"]
            return said
        response = call()
        self._drop_old(AT_A_TIME)
        self._ledger.put(TABLE, nonce, {"at": self.now(), "said": response})
        return response

    def sweep(self, origin: Incarnation) -> None:
        """Drops old ones."""
        self._drop_old(SWEPT_AT_A_TIME)

    def _drop_old(self, count: int) -> None:
        rows = self._ledger.rows(TABLE)
        old = [nonce for nonce in islice(rows, count) if is_old(rows[nonce], self.now())]
        for nonce in old:
            self._ledger.delete(TABLE, nonce)


def is_old(row: Fields, now: int) -> bool:
    """A clock of another leader that is ahead does not keep one for ever."""
    return abs(now - int(row["at"])) > KEPT_MILLISECONDS
