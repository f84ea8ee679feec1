"""A seeded simulator of whole clusters of ``core.Node``: virtual time, no sockets, every failure has a seed that replays it."""
