"""Holdfast's engine: databases that survive what happens to the machine.

    import engine

    with engine.open("inventory.holdfast") as db:
        with db.transaction() as txn:
            txn.tree("settings")[b"colour"] = b"blue"

Names are imported when they are first used, so that `import engine` costs next to nothing
and errors can be caught without the compiled kernel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import errors as errors
    from engine.config import Config as Config
    from engine.database import Database as Database
    from engine.opening import inspect as inspect
    from engine.opening import open_database as open
    from engine.types import Isolation as Isolation

__all__ = ["Config", "Database", "Isolation", "errors", "inspect", "open"]

_PLACES = {
    "Config": ("engine.config", "Config"),
    "Database": ("engine.database", "Database"),
    "Isolation": ("engine.types", "Isolation"),
    "errors": ("engine.errors", None),
    "inspect": ("engine.opening", "inspect"),
    "open": ("engine.opening", "open_database"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place, attribute = _PLACES[name]
    module = import_module(place)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
