"""The thin outer layer on asyncio: sockets, the clock, the Lease, discovery."""
