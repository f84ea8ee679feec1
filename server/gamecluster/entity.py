"""Entities: declared, typed fields, whose changes their table's journal gets to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform, get_origin

from .checks import DefinitionError, Kind, Mismatch, inherited, json_value, kind_of, names_around, own_annotations
from .core.messages import Fields
from .tracked import tracked

if TYPE_CHECKING:
    from .state import Table


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One declared field of an entity."""

    kind: Kind
    default: Callable[[], Any]


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
    _no_fields: ClassVar[frozenset[str]] = frozenset()
    """Class attributes that need no type."""
    _key: str
    _table: Table[Any] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declare(names_around())

    @classmethod
    def _declare(cls, names: dict[str, Any]) -> None:
        """``names``: those that the class statement sees."""
        cls._fields = inherited(cls, "_fields", _declared(cls, names))

    def __init__(self, **values: Any) -> None:
        place(self, None, "")
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
        try:
            value = field.kind.check(value)
        except Mismatch as error:
            raise error.inside(f"{type(self).__name__}.{name}") from None
        if field.kind.nests:
            self._will_change(name)
            value = tracked(value, self, name)
        elif (table := self._table) is not None:
            table._journal.touch(table, self._key)
        self.__dict__[name] = value

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
            return field.kind.check(value)
        except Mismatch as error:
            raise error.inside(f"{type(self).__name__}.{name}") from None

    def _will_change(self, name: str) -> None:
        """The list or dict in this field is about to be changed in place, or replaced: the journal needs a copy of it."""
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


def place(entity: Entity, table: Table[Any] | None, key: str) -> None:
    """Where the entity is from now on; None: nowhere, so that its changes are nobody's business."""
    object.__setattr__(entity, "_table", table)
    object.__setattr__(entity, "_key", key)


def _declared(cls: type[Entity], names: dict[str, Any]) -> dict[str, Field]:
    if "__init__" in vars(cls):
        raise DefinitionError(f"{cls.__name__}.__init__: an entity is made from its fields; give them defaults instead")
    hints = own_annotations(cls, names)
    for name, value in vars(cls).items():
        if name.startswith("_") or name in hints or name in cls._no_fields:
            continue
        if not callable(value) and not hasattr(value, "__get__"):
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
    return Field(kind, default)


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


def _no_field(cls: type[Entity], *names: str) -> str:
    return f"{cls.__name__} has no field {', '.join(names)}; it has {', '.join(cls._fields) or 'none'}"
