"""The state of a game: tables of entities. It notices what a rule changes, can undo it, and says it as ops.

A change costs what it touches: the first touch of an entity in a rule keeps its fields as they were (Journal); at the rule's
end they are compared (commit) or put back (undo). Lists and dicts in fields notice changes in place (``tracked``).
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Any, TypeVar

from .checks import Mismatch, json_value, text
from .core.messages import Fields, Op
from .entity import Entity, place
from .tracked import tracked

E = TypeVar("E", bound=Entity)


class Table(MutableMapping[str, E]):
    """The entities of one kind, by key (a str, often the player's id): a dict whose changes are replicated.

    Declared in a Game as ``ships: Table[Ship]``. An entity is in one place at most; insert ``copy.copy(ship)`` elsewhere.
    The order of iteration is not part of the state.
    """

    __slots__ = ("_entity", "_journal", "_name", "_rows")

    def __init__(self, name: str, entity: type[E], journal: Journal) -> None:
        self._name, self._entity, self._journal = name, entity, journal
        self._rows: dict[str, E] = {}
        journal.tables[name] = self

    def __getitem__(self, key: str) -> E:
        return self._rows[key]

    def __setitem__(self, key: str, entity: E) -> None:
        if type(entity) is not self._entity:
            raise Mismatch(self._entity.__name__, type(entity).__name__, f"{self._name}[{key!r}]")
        if entity._table is not None:
            if entity._table is self and entity._key == key:
                return
            raise ValueError(
                f"{self._name}[{key!r}]: this {self._entity.__name__} is already in {entity._table._name} as {entity._key!r}; "
                "delete it there first, or insert copy.copy(…) of it"
            )
        key = self._checked(key)
        self._touch(key)
        replaced = self._rows.get(key)
        if replaced is not None:
            self._release(key, replaced)
        self._rows[key] = entity
        place(entity, self, key)

    def __delitem__(self, key: str) -> None:
        entity = self._rows[key]
        self._touch(key)
        self._release(key, entity)
        del self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<Table {self._name}: {len(self)} × {self._entity.__name__}>"

    def keys(self) -> KeysView[str]:
        return self._rows.keys()

    def items(self) -> ItemsView[str, E]:
        return self._rows.items()

    def values(self) -> ValuesView[E]:
        return self._rows.values()

    def _touch(self, key: str) -> Fields | None:
        return self._journal.touch(self, key)

    def _checked(self, key: str) -> str:
        try:
            return text(key)
        except Mismatch as error:
            raise error.inside(f"a key of {self._name}") from None

    def _release(self, key: str, entity: E) -> None:
        """It leaves the table; changes that it sees from now on must not reach what the journal keeps of it."""
        was = self._journal.before[self._name, key]
        if was[0] is entity:
            assert was[1] is not None
            for name, value in was[1].items():
                if entity._fields[name].kind.nests:
                    was[1][name] = json_value(value)
        place(entity, None, "")

    def _plain(self) -> dict[str, Fields]:
        """All of it as plain data: ``{key: {field: value}}``."""
        return {key: entity._plain() for key, entity in self._rows.items()}

    def _restored(self, rows: Mapping[str, Fields]) -> dict[str, E]:
        """Entities of plain data, in no table yet. A field that the class has not (any more) is left out."""
        entities = {}
        for key, fields in rows.items():
            try:
                entities[key] = self._entity(**{n: v for n, v in fields.items() if n in self._entity._fields})
            except Mismatch as error:
                raise ValueError(
                    f"the state does not fit the game: {self._name}[{key!r}]: {error}; a field's type can't change while a game lives"
                ) from error
        return entities

    def _load(self, entities: dict[str, E]) -> None:
        for entity in self._rows.values():
            place(entity, None, "")
        self._rows = entities
        for key, entity in entities.items():
            place(entity, self, key)

    def _schema(self) -> Fields:
        return {name: {"type": f.kind.name, "default": f.default()} for name, f in self._entity._fields.items()}


Before = tuple[Entity | None, Fields | None]


class Journal:
    """What the running rule has touched, as it was before: compared at its end, put back if it raised."""

    __slots__ = ("before", "running", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, Table[Any]] = {}
        self.before: dict[tuple[str, str], Before] = {}
        self.running = False

    def touch(self, table: Table[Any], key: str) -> Fields | None:
        """Keeps the entity's fields at its first touch. Gives what is kept: None if the key was absent."""
        place = (table._name, key)
        was = self.before.get(place)
        if was is None:
            if not self.running:
                raise RuntimeError(f"{table._name}[{key!r}] is changed outside of a rule, so nobody would be told")
            entity = table._rows.get(key)
            was = self.before[place] = (None, None) if entity is None else (entity, dict(entity.__dict__))
        return was[1]

    def commit(self) -> list[Op]:
        """The ops of what is different now. Raises Mismatch if a list or dict was given something that its type forbids."""
        ops: list[Op] = []
        for (name, key), (was, fields) in self.before.items():
            now = self.tables[name]._rows.get(key)
            if now is None:
                if was is not None:
                    ops.append((name, key, None))
                continue
            changed = _difference(now, fields)
            if was is None or (changed and now is not was):
                changed = {n: changed[n] if n in changed else now._settle(n) for n in now._fields}
            if was is None or changed:
                ops.append((name, key, changed))
        self.before = {}
        return ops

    def undo(self) -> None:
        """Everything touched is as it was: the entities themselves, their fields, and that some were absent."""
        before, self.before = self.before, {}
        for (name, key), (was, _) in before.items():
            now = self.tables[name]._rows.get(key)
            if now is not None and now is not was:
                place(now, None, "")
        for (name, key), (was, fields) in before.items():
            table = self.tables[name]
            if was is None or fields is None:
                table._rows.pop(key, None)
                continue
            _put_back(was, fields)
            place(was, table, key)
            table._rows[key] = was


def _difference(now: Entity, before: Fields | None) -> Fields:
    """The fields that are not what they were, as plain data."""
    changed: Fields = {}
    for name, value in now.__dict__.items():
        if before is not None and type(value) in _SCALARS:
            if value is not (was := before[name]) and (type(was) is not type(value) or was != value):
                changed[name] = value
        elif before is None or value is not before[name]:
            settled = now._settle(name)
            if before is None or not _same(settled, before[name]):
                changed[name] = settled
    return changed


_SCALARS = frozenset((str, int, float, bool, type(None)))


def _put_back(entity: Entity, fields: Fields) -> None:
    for name, value in fields.items():
        entity.__dict__[name] = tracked(value, entity, name) if type(value) in (list, dict) else value


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON: True is not 1, nor 1 1.0."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    return type(a) is type(b) and bool(a == b)
