"""What happened, kept as cheaply as can be and put into words only when somebody reads it."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from gamecluster.core.effects import FlushSoon, SendPeer
from gamecluster.core.events import PeerSaid, RecordRead
from gamecluster.core.messages import Append, Entry, Hello, Install, Position, Promise, Record

Line = tuple[float, str, str, Any]


class Transcript:
    """The last ``keep`` lines (all of them with None). Heartbeats are left out."""

    def __init__(self, keep: int | None = 400) -> None:
        self._lines: deque[Line] = deque(maxlen=keep)
        self.count = 0

    def event(self, now: float, who: str, event: Any) -> None:
        if type(event) is PeerSaid and _is_dull(event.message):
            return
        self._add((now, who, "<-", event))

    def effect(self, now: float, who: str, effect: Any) -> None:
        if type(effect) is FlushSoon or (type(effect) is SendPeer and _is_dull(effect.message)):
            return
        self._add((now, who, "->", effect))

    def note(self, now: float, text: str) -> None:
        self._add((now, "", "**", text))

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self.count += 1

    def lines(self, last: int | None = None) -> list[str]:
        chosen = list(self._lines) if last is None else list(self._lines)[-last:]
        return [f"{now:10.4f} {who:>8} {arrow} {show(what)}" for now, who, arrow, what in chosen]


def _is_dull(message: Any) -> bool:
    return type(message) is Hello


def show(value: Any) -> str:
    """One line, shorter than a repr."""
    match value:
        case str():
            return value
        case PeerSaid(peer=peer, message=message):
            return f"{peer} said {show(message)}"
        case SendPeer(peer=peer, message=message):
            return f"{peer}: {show(message)}"
        case RecordRead(record=record):
            return f"RecordRead {show(record)}"
        case Record():
            mark = " never held" if value.never_held else ""
            return f"[v{value.version} e{value.epoch} {value.holder} in sync {','.join(value.in_sync)}{mark}]"
        case Position():
            return f"({value.epoch},{value.seq})"
        case Promise():
            return f"e{value.epoch}/{value.leader}"
        case Entry():
            replies = ",".join(f"{r.origin}#{r.request}:{r.response}" for r in value.replies)
            return f"({value.epoch},{value.seq}) {value.ops} {replies}"
        case Append():
            entries = "; ".join(show(e) for e in value.entries)
            return f"Append e{value.epoch} after {show(value.previous)} [{entries}] committed={value.committed}"
        case Install():
            return f"Install e{value.epoch} at {show(value.position)}"
        case Struct():
            fields = ", ".join(f"{name}={show(getattr(value, name))}" for name in value.__struct_fields__)
            return f"{type(value).__name__}({fields})"
        case _:
            return repr(value)
