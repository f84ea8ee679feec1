"""A chat that keeps all that a test says, however long it takes."""

from __future__ import annotations

from gamecluster.chat import Chat


class LongChat(Chat):
    topic = "chat:*"
    keep = 10_000
