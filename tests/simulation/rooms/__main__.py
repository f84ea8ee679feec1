"""``python -m tests.simulation.rooms --seeds 1000 --start 1 --jobs 4``, or ``--seed N --transcript`` to see one run."""

from __future__ import annotations

import sys

from ..command import Command
from .run import Failed, run
from .schedule import Family, plan

COMMAND = Command("tests.simulation.rooms", "Runs seeded clusters with rooms.", Family, plan, run, Failed)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
