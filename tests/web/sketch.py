"""A channel of binary data, for the tests of the clients."""

from __future__ import annotations

from gamecluster import Channel, on


class Sketch(Channel):
    topic = "sketch:*"

    @on("draw")
    def draw(self, payload: bytes) -> bytes:
        """Everybody sees the stroke; the one who drew it is sent its first byte, and answered with it backwards."""
        self.broadcast("drawn", payload)
        self.push("drew", payload[:1])
        return payload[::-1]

    @on("say")
    def say(self, text: str) -> None:
        self.broadcast("said", {"text": text})
