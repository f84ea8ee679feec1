"""Topics that every cluster serves, after those of the targets, whose own classes come first."""

from __future__ import annotations

from .channel import Channel
from .chat import Chat
from .leaderboard import LeaderboardTopic
from .player_topic import PlayerTopic

BUILT_IN: tuple[type[Channel], ...] = (Chat, LeaderboardTopic, PlayerTopic)
