"""GameCluster: real-time multiplayer games on WebSockets that survive the loss of any machine."""

from .channel import Channel
from .game import Entity, Game, Grid, Player, Rejected, Table, on
from .room import Room, received
from .singleton import Singleton

__all__ = ["Channel", "Entity", "Game", "Grid", "Player", "Rejected", "Room", "Singleton", "Table", "on", "received"]
