"""websockets with its ``broadcast``, and uvloop. ``server.py PORT``"""

import asyncio
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: dict[str | bytes, set[ServerConnection]] = defaultdict(set)


async def handle(connection: ServerConnection) -> None:
    members = rooms[await connection.recv()]
    members.add(connection)
    try:
        await connection.send("joined")
        async for message in connection:
            broadcast(members, message)
    finally:
        members.remove(connection)


async def main() -> None:
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=2048):
        await asyncio.get_running_loop().create_future()


uvloop.run(main())
