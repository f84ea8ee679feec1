"""Who is ahead of whom: an ordered index of one leaderboard, kept as its rows change, and views of it.

Keys are in order in chunks of at most two thousand, so a change moves some kilobytes at most, whatever the board's length, and a rank is
the sum of the lengths of chunks, some hundred for a million entries.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping

from ..core.messages import Fields

CHUNK = 2048
FEWEST = CHUNK // 8

Key = tuple[float, int, str]
"""``(-score, at, player)``: the best first; of equal scores the one reached first, then by name."""

FIRST: Key = (float("-inf"), 0, "")


def key_of(player: str, row: Mapping[str, float]) -> Key:
    return (-row["score"], int(row["at"]), player)


class Ranking:
    """An index of committed rows, or of any."""

    def __init__(self, rows: Mapping[str, Fields] | None = None) -> None:
        self._keys = {player: key_of(player, row) for player, row in rows.items()} if rows else {}
        ordered = sorted(self._keys.values())
        self._chunks = [ordered[at : at + CHUNK // 2] for at in range(0, len(ordered), CHUNK // 2)]
        self._lasts = [chunk[-1] for chunk in self._chunks]
        self._lengths = [len(chunk) for chunk in self._chunks]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, player: str) -> bool:
        return player in self._keys

    def key(self, player: str) -> Key | None:
        return self._keys.get(player)

    def put(self, player: str, row: Mapping[str, float]) -> None:
        key = key_of(player, row)
        before = self._keys.get(player)
        if before == key:
            return
        if before is not None:
            self._take_out(before)
        self._keys[player] = key
        self._insert(key)

    def remove(self, player: str) -> None:
        """Harmless for one who is not in it."""
        if (key := self._keys.pop(player, None)) is not None:
            self._take_out(key)

    def count_before(self, key: Key) -> int:
        at = bisect_left(self._lasts, key)
        if at == len(self._chunks):
            return len(self._keys)
        return sum(self._lengths[:at]) + bisect_left(self._chunks[at], key)

    def following(self, key: Key, count: int) -> list[Key]:
        """Up to ``count`` keys from ``key`` on."""
        at = bisect_left(self._lasts, key)
        if at == len(self._chunks):
            return []
        start = bisect_left(self._chunks[at], key)
        found = self._chunks[at][start : start + count]
        while len(found) < count and (at := at + 1) < len(self._chunks):
            found += self._chunks[at][: count - len(found)]
        return found

    def preceding(self, key: Key, count: int) -> list[Key]:
        """Up to ``count`` keys right before ``key``, in order."""
        at = bisect_left(self._lasts, key)
        end = bisect_left(self._chunks[at], key) if at < len(self._chunks) else 0
        found = self._chunks[at][max(0, end - count) : end] if end else []
        while len(found) < count and (at := at - 1) >= 0:
            chunk = self._chunks[at]
            found = chunk[max(0, len(chunk) - count + len(found)) :] + found
        return found

    def shrink(self) -> bool:
        """Lets go of a chunk of what is not wanted any more; says whether there is more. To free a million keys at once takes long."""
        for key in self._chunks.pop() if self._chunks else ():
            self._keys.pop(key[2], None)
        return bool(self._chunks)

    def _insert(self, key: Key) -> None:
        if not self._chunks:
            self._chunks, self._lasts, self._lengths = [[key]], [key], [1]
            return
        at = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        self._changed(at)
        if len(chunk) > CHUNK:
            self._split(at)

    def _split(self, at: int) -> None:
        chunk = self._chunks[at]
        half = len(chunk) // 2
        self._chunks[at : at + 1] = [chunk[:half], chunk[half:]]
        self._lasts[at : at + 1] = [chunk[half - 1], chunk[-1]]
        self._lengths[at : at + 1] = [half, len(chunk) - half]

    def _take_out(self, key: Key) -> None:
        at = bisect_left(self._lasts, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        if len(chunk) < FEWEST:
            self._merge(at)
        else:
            self._changed(at)

    def _changed(self, at: int) -> None:
        chunk = self._chunks[at]
        self._lasts[at], self._lengths[at] = chunk[-1], len(chunk)

    def _merge(self, at: int) -> None:
        """Into the neighbour, so that there are never many chunks of few keys."""
        chunk = self._chunks.pop(at)
        del self._lasts[at], self._lengths[at]
        if not self._chunks:
            self._chunks, self._lasts, self._lengths = ([chunk], [chunk[-1]], [len(chunk)]) if chunk else ([], [], [])
            return
        to = at - 1 if at else 0
        self._chunks[to] = self._chunks[to] + chunk if at else chunk + self._chunks[to]
        self._changed(to)
        if len(self._chunks[to]) > CHUNK:
            self._split(to)


class View:
    """A ranking with a few keys ``gone`` from it and others that ``came``: what is not committed yet."""

    def __init__(self, ranking: Ranking, gone: Iterable[Key] = (), came: Iterable[Key] = ()) -> None:
        self._ranking = ranking
        self._gone, self._came = sorted(gone), sorted(came)
        self._players = {key[2]: key for key in self._came}
        self._left = {key[2] for key in self._gone} - self._players.keys()

    def count(self) -> int:
        return len(self._ranking) - len(self._gone) + len(self._came)

    def rank(self, player: str) -> int | None:
        """From 1; None if the player has no score."""
        key = self._key(player)
        return None if key is None else 1 + self._before(key)

    def entry(self, player: str) -> Fields | None:
        """``{"rank", "player", "score"}``."""
        key = self._key(player)
        return None if key is None else _entries([key], 1 + self._before(key))[0]

    def top(self, limit: int) -> list[Fields]:
        """``[{"rank", "player", "score"}]``, the best first."""
        return _entries(self._following(FIRST, limit), 1)

    def around(self, player: str, limit: int) -> list[Fields]:
        """``limit`` entries with the player in the middle, or as near to it as the board's ends allow; [] without a score."""
        key = self._key(player)
        if key is None:
            return []
        ahead, on = self._preceding(key, limit - 1), self._following(key, limit)
        many = min(len(ahead), max((limit - 1) // 2, limit - len(on)))
        shown = ahead[len(ahead) - many :] + on[: limit - many]
        return _entries(shown, 1 + self._before(key) - many)

    def _key(self, player: str) -> Key | None:
        if player in self._left:
            return None
        return self._players.get(player) or self._ranking.key(player)

    def _before(self, key: Key) -> int:
        return self._ranking.count_before(key) - bisect_left(self._gone, key) + bisect_left(self._came, key)

    def _following(self, key: Key, count: int) -> list[Key]:
        if not (self._gone or self._came):
            return self._ranking.following(key, count)
        gone, start = set(self._gone), bisect_left(self._came, key)
        kept = [k for k in self._ranking.following(key, count + len(gone)) if k not in gone]
        return sorted(kept[:count] + self._came[start : start + count])[:count]

    def _preceding(self, key: Key, count: int) -> list[Key]:
        if not count:
            return []
        if not (self._gone or self._came):
            return self._ranking.preceding(key, count)
        gone, end = set(self._gone), bisect_left(self._came, key)
        kept = [k for k in self._ranking.preceding(key, count + len(gone)) if k not in gone]
        return sorted(kept[-count:] + self._came[max(0, end - count) : end])[-count:]


def _entries(keys: list[Key], first: int) -> list[Fields]:
    return [{"rank": rank, "player": key[2], "score": -key[0]} for rank, key in enumerate(keys, first)]
