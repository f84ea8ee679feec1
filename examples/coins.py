"""Coins lie on a field, and players run for them: ticks, chance, and a word to everyone.

gamecluster up examples/coins.py:Coins
"""

from __future__ import annotations

from gamecluster import Entity, Game, Player, Rejected, Table, on

SIZE = 20
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


class Runner(Entity):
    x: int = 0
    y: int = 0
    coins: int = 0


class Coin(Entity):
    x: int = 0
    y: int = 0


class Bank(Entity):
    made: int = 0
    seconds: float = 0.0


class Coins(Game):
    runners: Table[Runner]
    coins: Table[Coin]
    bank: Table[Bank]  # has one entity: what belongs to the game as a whole
    tick_rate = 10

    def join(self, player: Player) -> None:
        self.runners[player.id] = Runner(x=self.random.randrange(SIZE), y=self.random.randrange(SIZE))

    def leave(self, player: Player) -> None:
        self.runners.pop(player.id, None)

    def tick(self, seconds: float) -> None:
        """A new coin every second, up to one for each runner."""
        bank = self.bank.setdefault("bank", Bank())
        if len(self.coins) >= len(self.runners):
            return
        bank.seconds += seconds
        if bank.seconds >= 1:
            bank.seconds = 0
            bank.made += 1
            self.coins[str(bank.made)] = Coin(x=self.random.randrange(SIZE), y=self.random.randrange(SIZE))

    @on("run")
    def run(self, player: Player, to: str) -> dict[str, int]:
        if to not in STEPS:
            raise Rejected("no such direction", known=list(STEPS))
        runner = self.runners[player.id]
        runner.x = (runner.x + STEPS[to][0]) % SIZE
        runner.y = (runner.y + STEPS[to][1]) % SIZE
        for key, coin in list(self.coins.items()):
            if (coin.x, coin.y) == (runner.x, runner.y):
                del self.coins[key]
                runner.coins += 1
                self.broadcast("coin", {"player": player.id, "coins": runner.coins})
        return {"coins": runner.coins}
