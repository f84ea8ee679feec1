"""A server that does to messages what none may do, for the load generator to find: loses number 5, sends 7 twice, and 9 after 10.

``mischief.py PORT``; speaks the dialect ``plain``."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

members: set[ServerConnection] = set()
kept: list[str | bytes] = []


def number_of(message: str) -> int:
    mark = message.index("~")
    return int(message[mark + 7 : mark + 15], 16)


async def handle(connection: ServerConnection) -> None:
    await connection.recv()
    members.add(connection)
    await connection.send("joined")
    async for message in connection:
        number = number_of(str(message))
        if number == 9:
            kept.append(message)
        elif number != 5:
            for copy in [message] * (1 + (number == 7)) + (kept if number == 10 else []):
                broadcast(members, copy)
    members.discard(connection)


async def main() -> None:
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
