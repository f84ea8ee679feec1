"""FastAPI as is: the connection manager of its documentation, with rooms. ``uvicorn server:app``, uvloop."""

from collections import defaultdict

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
rooms: dict[str, list[WebSocket]] = defaultdict(list)


@app.websocket("/")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    members = rooms[await websocket.receive_text()]
    members.append(websocket)
    try:
        await websocket.send_text("joined")
        while True:
            message = await websocket.receive_text()
            for member in list(members):
                await member.send_text(message)
    except WebSocketDisconnect:
        pass
    finally:
        members.remove(websocket)
