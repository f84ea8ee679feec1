"""The topic of a game, or of a room, with Grids: its clients are sent what each of them sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..core.effects import DeliverPatch, DeliverState
from ..core.messages import Fields, Op, Position
from ..interest import Grid
from .compact import Schema
from .connection import Connection
from .game_topic import Admit, GameTopic, Shared, Waiting
from .resume import Game
from .views import Sent, Views


def make_topic(
    shared: Shared,
    room: str,
    game: Game,
    patch_rate: int,
    schema: Schema,
    grids: Sequence[Grid] = (),
    admit: Admit = lambda join: None,
    emptied: Callable[[str], None] = lambda topic: None,
) -> GameTopic:
    """As a game with these ``grids`` needs it."""
    if not grids:
        return GameTopic(shared, room, game, patch_rate, schema, admit, emptied)
    return GridTopic(Views(grids, game), shared, room, game, patch_rate, schema, admit, emptied)


class GridTopic(GameTopic):
    """Patches are JSON for everybody. Who comes back is sent the state that it sees: what it saw when it was lost is not known."""

    def __init__(
        self,
        views: Views[Connection],
        shared: Shared,
        room: str,
        game: Game,
        patch_rate: int,
        schema: Schema,
        admit: Admit,
        emptied: Callable[[str], None],
    ) -> None:
        super().__init__(shared, room, game, patch_rate, schema, admit, emptied)
        self._views = views

    def deliver_patch(self, effect: DeliverPatch) -> None:
        if self._topics.has(self.topic):
            at = Position(effect.epoch, effect.seq)
            if at.epoch != self._views.at.epoch:
                self._patches.flush()
            self._views.add(at, effect.ops)
            self._patches.add(at, [])

    def deliver_state(self, effect: DeliverState) -> None:
        self._patches.drop()
        if self._topics.has(self.topic):
            self._views.load()
            self._tell(self._views.states())

    def catch_up(self, connection: Connection, since: Position) -> None:
        if connection.number not in self._clients:
            return
        _, channel = self._clients[connection.number]
        state = self._seen(connection, connection.players[channel])
        self._perform(connection, connection.session.push(channel, "state", state))

    # --- private

    def _enter(self, connection: Connection, waiting: Waiting, since: Position | None) -> Fields:
        self._topics.subscribe(self.topic, connection)
        return self._seen(connection, connection.players[waiting.channel], since)

    def _forget(self, connection: Connection, channel: int) -> None:
        self._views.leave(connection)
        super()._forget(connection, channel)

    def _seen(self, connection: Connection, player: str, since: Position | None = None) -> Fields:
        at, state = self._views.join(connection, player, since)
        return {"epoch": at.epoch, "seq": at.seq, "state": state}

    def _send_patch(self, position: Position, ops: list[Op]) -> None:
        self._tell(self._views.patches())

    def _tell(self, told: Iterable[Sent[Connection]]) -> None:
        """Who does not read is told nothing more, and sees anew once it reads again."""
        for event, payload, clients in told:
            readers = [client for client in clients if client.number not in self._blocked] if self._blocked else clients
            for client in clients if readers is not clients else ():
                if client.number in self._blocked:
                    self._views.leave(client)
                    self._blocked[client.number].setdefault(self.topic, self._views.at)
            self._metrics.messages_out.count += self._topics.tell(self.topic, event, payload, readers)
