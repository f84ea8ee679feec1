"""A chat room where everyone has a name: the custom topics ``chatroom:*``, beside or without a game.

gamecluster up examples/chat.py:Chat
"""

from __future__ import annotations

from typing import Any

from gamecluster import Channel, Rejected, on


class Chat(Channel):
    topic = "chatroom:*"

    def join(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.name = str(payload.get("name", "")).strip()[:20]
        if not self.name:
            raise Rejected("say who you are", example={"name": "ann"})
        self.broadcast("joined", {"name": self.name})
        return {"welcome": self.name, "room": self.topic}

    def leave(self) -> None:
        self.broadcast("left", {"name": self.name})

    @on("say")
    def say(self, text: str, aside: bool = False) -> None:
        if not text.strip():
            raise Rejected("nothing to say")
        line = {"name": self.name, "text": text}
        if aside:
            self.push("said", line)
        else:
            self.broadcast("said", line)
