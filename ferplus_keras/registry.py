"""Tables of named things: the one list of label rules, networks, schedules and so on."""

from collections.abc import Callable
from typing import Any, TypeVar

from ferplus_keras.errors import unknown

Value = TypeVar("Value")
Decorated = TypeVar("Decorated")


class Registry(dict[str, Value]):
    """A table whose look-up refuses an unknown name with the nearest spelling.

    Args:
        kind: what the entries are called in messages, such as "label rule".

    Example:
        >>> colours = Registry("colour")
        >>> @colours.register("red")
        ... def _red():
        ...     return "#f00"
        >>> colours["red"]()
        '#f00'
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, name: str) -> Value:
        raise unknown(self.kind, name, self)

    def register(
        self, name: str, make: Callable[[Any], Value] | None = None
    ) -> Callable[[Decorated], Decorated]:
        """Return a decorator that enters what it decorates, or what `make` makes of it."""

        def enter(decorated: Decorated) -> Decorated:
            self[name] = make(decorated) if make else decorated
            return decorated

        return enter
