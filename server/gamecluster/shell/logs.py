"""Log lines for people (text) or for a log store (JSON, one object a line), on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from ..settings import Settings

FOREIGN = ("uvicorn", "uvicorn.error", "asyncio", "httpx2", "websockets")
"""Of libraries, only what went wrong."""


def configure(settings: Settings) -> None:
    """Sets up the root logger. Call once per process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(settings.node) if settings.log_format == "json" else TextLines(settings.node))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in FOREIGN:
        logging.getLogger(name).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        line = f"{stamp} {record.levelname.lower():<8} {self._node} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "node": self._node,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
