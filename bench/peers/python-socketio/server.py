"""python-socketio with its rooms, WebSocket only. ``uvicorn server:app``, uvloop."""

from typing import Any

import socketio

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])
app = socketio.ASGIApp(server)
rooms: dict[str, str] = {}


@server.event
async def join(sid: str, room: str) -> None:
    rooms[sid] = room
    await server.enter_room(sid, room)


@server.event
async def shout(sid: str, message: Any) -> None:
    await server.emit("shout", message, room=rooms[sid])


@server.event
async def disconnect(sid: str, reason: str) -> None:
    rooms.pop(sid, None)
