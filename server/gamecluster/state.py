"""The state that a game declares: entities in tables. It notices what a rule changes, can undo it, and says it as ops.

A change costs what it touches: the first touch of an entity in a rule keeps its fields as they were (Journal); at the rule's
end they are compared (commit) or put back (undo). Lists and dicts in fields notice changes in place (Tracked).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_origin

from .checks import (
    Check,
    DefinitionError,
    Kind,
    Mismatch,
    inherited,
    json_value,
    kind_of,
    names_around,
    own_annotations,
    text,
)
from .core.messages import Fields, Op
from .tracked import tracked


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One declared field of an entity."""

    kind: Kind
    default: Callable[[], Any]
    check: Check


@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
class Entity:
    """A thing in the game. Every public attribute is declared with a type and a default::

        class Ship(Entity):
            x: float = 0.0
            cargo: list[str] = field(default_factory=list)     # dataclasses.field

    Assigning checks the type (TypeError) and copies lists and dicts; changing those in place is noticed too.
    """

    __slots__ = ("__dict__", "_key", "_table")
    _fields: ClassVar[dict[str, Field]] = {}
    _key: str
    _table: Table[Any] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._fields = inherited(cls, "_fields", _declared(cls, names_around()))

    def __init__(self, **values: Any) -> None:
        _place(self, None, "")
        own = self.__dict__
        for name, field in self._fields.items():
            value = field.default() if name not in values else self._checked(name, field, values.pop(name))
            own[name] = tracked(value, self, name) if field.kind.nests else value
        if values:
            raise TypeError(_no_field(type(self), *values))

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._fields.get(name)
        if field is None:
            raise AttributeError(_no_field(type(self), name))
        value = self._checked(name, field, value)
        if self._table is not None:
            self._table._touch(self._key)
        self.__dict__[name] = tracked(value, self, name) if field.kind.nests else value

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} can't be deleted: an entity always has all of its fields")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.__dict__.items())})"

    def __copy__(self) -> Entity:
        """The same fields, in no table."""
        return type(self)(**self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Entity:
        return self.__copy__()

    def _checked(self, name: str, field: Field, value: Any) -> Any:
        try:
            return field.check(value)
        except Mismatch as error:
            raise error.inside(f"{type(self).__name__}.{name}") from None

    def _will_change(self, name: str) -> None:
        """The list or dict in this field is about to be changed in place."""
        if self._table is None:
            return
        before = self._table._touch(self._key)
        if before is not None and before.get(name) is self.__dict__[name]:
            before[name] = json_value(before[name])

    def _plain(self) -> Fields:
        return {n: json_value(v) if self._fields[n].kind.nests else v for n, v in self.__dict__.items()}

    def _settle(self, name: str) -> Any:
        """The field as plain data. What was put into a list or dict in place is checked and made the entity's own."""
        value, field = self.__dict__[name], self._fields[name]
        if field.kind.nests:
            value = self._checked(name, field, value)
            self.__dict__[name] = tracked(value, self, name)
        return value


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
        try:
            key = text(key)
        except Mismatch as error:
            raise error.inside(f"a key of {self._name}") from None
        self._touch(key)
        replaced = self._rows.get(key)
        if replaced is not None:
            self._release(key, replaced)
        self._rows[key] = entity
        _place(entity, self, key)

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

    def _release(self, key: str, entity: E) -> None:
        """It leaves the table; changes that it sees from now on must not reach what the journal keeps of it."""
        was = self._journal.before[self._name, key]
        if was[0] is entity:
            assert was[1] is not None
            for name, value in was[1].items():
                if entity._fields[name].kind.nests:
                    was[1][name] = json_value(value)
        _place(entity, None, "")

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
            _place(entity, None, "")
        self._rows = entities
        for key, entity in entities.items():
            _place(entity, self, key)

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
                _place(now, None, "")
        for (name, key), (was, fields) in before.items():
            table = self.tables[name]
            if was is None or fields is None:
                table._rows.pop(key, None)
                continue
            _put_back(was, fields)
            _place(was, table, key)
            table._rows[key] = was


def _declared(cls: type[Entity], names: dict[str, Any]) -> dict[str, Field]:
    if "__init__" in vars(cls):
        raise DefinitionError(f"{cls.__name__}.__init__: an entity is made from its fields; give them defaults instead")
    hints = own_annotations(cls, names)
    for name, value in vars(cls).items():
        if not name.startswith("_") and name not in hints and not callable(value) and not hasattr(value, "__get__"):
            raise DefinitionError(
                f"{cls.__name__}.{name} has no type; write {name}: {type(value).__name__} = {value!r}"
            )
    return {name: _field(cls, name, hint) for name, hint in hints.items() if ClassVar not in (hint, get_origin(hint))}


def _field(cls: type[Entity], name: str, annotation: Any) -> Field:
    who = f"{cls.__name__}.{name}"
    if name.startswith("_") or hasattr(Entity, name):
        raise DefinitionError(f"{who}: a field can't be called {name}")
    if name not in vars(cls):
        raise DefinitionError(f"{who} has no default")
    kind = kind_of(annotation, who)
    try:
        default = _default(vars(cls)[name], kind, who)
        default()
    except Mismatch as error:
        raise DefinitionError(f"{who}: its default: {error}") from None
    delattr(cls, name)
    return Field(kind, default, kind.check)


def _default(given: Any, kind: Kind, who: str) -> Callable[[], Any]:
    if isinstance(given, dataclasses.Field):
        factory = given.default_factory
        if factory is not dataclasses.MISSING:
            return lambda: kind.check(factory())
        given = given.default
    if given is dataclasses.MISSING:
        raise DefinitionError(f"{who} has no default")
    if isinstance(given, list | dict | set):
        raise DefinitionError(
            f"{who}: a mutable default would be shared by all; "
            f"write field(default_factory={type(given).__name__}), with field from dataclasses"
        )
    value = kind.check(given)
    return lambda: value


def _difference(now: Entity, before: Fields | None) -> Fields:
    """The fields that are not what they were, as plain data."""
    changed: Fields = {}
    for name, value in now.__dict__.items():
        if before is None or value is not before[name]:
            settled = now._settle(name)
            if before is None or not _same(settled, before[name]):
                changed[name] = settled
    return changed


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


def _place(entity: Entity, table: Table[Any] | None, key: str) -> None:
    object.__setattr__(entity, "_table", table)
    object.__setattr__(entity, "_key", key)


def _no_field(cls: type[Entity], *names: str) -> str:
    return f"{cls.__name__} has no field {', '.join(names)}; it has {', '.join(cls._fields) or 'none'}"
