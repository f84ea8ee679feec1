"""A chat page as people wrote it by hand in 2018: Phoenix V1 JSON, no library, no `vsn`. Runs inside the cluster.

`python chat.py HOST:PORT HOST:PORT` joins room:1 at both, shouts at each, and hears it at both.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from websockets.asyncio.client import ClientConnection, connect


async def until(socket: ClientConnection, event: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["event"] == event:
                return message


async def main(first: str, second: str) -> None:
    async with connect(f"ws://{first}/socket/websocket") as a, connect(f"ws://{second}/socket/websocket") as b:
        for socket in (a, b):
            await socket.send(json.dumps({"topic": "room:1", "event": "phx_join", "payload": {}, "ref": 0}))
            reply = await until(socket, "phx_reply")
            assert reply == {"topic": "room:1", "event": "phx_reply", "ref": 0, "payload": reply["payload"]}, reply
            assert reply["payload"]["status"] == "ok", reply
        for speaker, text in ((a, "from the first"), (b, "from the second")):
            said = {"name": "ann", "message": text}
            await speaker.send(json.dumps({"topic": "room:1", "event": "shout", "payload": said, "ref": 1}))
            for listener in (a, b):
                heard = await until(listener, "shout")
                assert heard["topic"] == "room:1" and heard["payload"] == said, heard
    print("heard at both pods")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
