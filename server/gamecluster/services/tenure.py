"""For how long a pod may answer for the names that it holds without asking the leader again.

| when                                                     | what follows                                                    |
| -------------------------------------------------------- | --------------------------------------------------------------- |
| a call of this pod, asked at t, is answered as committed | until t + 1.5 s nobody else holds what this pod's copy says     |
| no later one is answered                                 | from then on it does not answer for any name                    |
| one is answered again                                    | its copy is as new as the answer: it holds what that says       |

The leader that committed the call heard of this pod at t or later, and frees its names when it has heard nothing for 2 s; one
that leads later began after t, and spares everyone for its first 2 s. No clock is compared with another: only their speeds
have to be equal within a quarter. See docs/decisions/names.md.
"""

from __future__ import annotations

from math import inf

TENURE_SECONDS = 1.5
RENEW_SECONDS = 0.4


class Tenure:
    """Times are monotonic seconds of this pod."""

    def __init__(self) -> None:
        self._until = -inf

    def confirmed(self, asked_at: float) -> None:
        """A call that was asked then was answered with its entry's position; this pod's copy has come that far."""
        self._until = max(self._until, asked_at + TENURE_SECONDS)

    def is_good(self, now: float) -> bool:
        return now < self._until
