"""A transport that only notes what is done to it."""

from __future__ import annotations

from typing import Any


class Noting:
    """``protocol``: who is on it now; ``written``: all that was, end to end."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = b""
        self.is_closed = False
        self.is_aborted = False

    def get_extra_info(self, _: str) -> None:
        return None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True
