"""The operator's part in the Lease of a local cluster: it creates, it replaces on the version that it read, it says why."""

from __future__ import annotations

import msgspec

from ..core.messages import Record
from ..shell.lease import LeaseConflict, LeaseUnanswered
from ..shell.lease_file import FileLease, create_vacant
from .backstop import reset
from .plan import Plan


class Store:
    """The Lease as ``gamecluster up`` has it. Reading raises LeaseError if the file can't be understood."""

    def __init__(self, plan: Plan) -> None:
        self._path = plan.lease
        self._lease = FileLease(plan.lease)

    async def read(self) -> Record | None:
        return await self._lease.read()

    async def write(self, record: Record) -> bool:
        """Whether the Lease still had version ``record.version`` and says ``record`` now."""
        try:
            await self._lease.write(record)
        except (LeaseConflict, LeaseUnanswered):
            return False
        return True

    async def begin(self, keeps: bool = False) -> Record | None:
        """Makes the Lease fit for a start when nothing of a former run is alive; returns the record that had to be given up.

        ``keeps``: there is a storage, and how to begin is decided when the nodes have said what it holds, unless the former run's
        last node has said so.
        """
        create_vacant(self._path, never_held=not keeps)
        former = await self.read()
        if former is None:
            return None
        if keeps:
            if former.asleep is None:
                await self._lease.write(Record(former.version, None, former.epoch, ()))
        elif not former.never_held:
            await self._lease.write(reset(former))
            return former
        return None

    async def recreate(self, last: Record) -> bool:
        """Rule 12: a Lease that vanished comes back vacant, with the epoch and the set that were seen last."""
        if not create_vacant(self._path, epoch=last.epoch, never_held=last.never_held):
            return False
        made = await self.read()
        if made and made.holder is None and (last.in_sync or last.asleep):
            await self.write(msgspec.structs.replace(made, in_sync=last.in_sync, asleep=last.asleep))
        return True
