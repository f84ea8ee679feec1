"""kopf without what it keeps for handlers of other kinds: for each event it would copy the object four times, to see what changed."""

from __future__ import annotations

from typing import Any

import kopf


class NoDiff(kopf.DiffBaseStorage):
    """To which all objects are always the same."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):
    """To which no handler was ever under way."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence
