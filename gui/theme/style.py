"""The one style sheet, filled in from the tokens.

Widgets ask for a look with dynamic properties: `role` ("title", "caption", "figure", ...) on
labels, `kind` ("primary", "danger", "quiet") on buttons, `surface` ("card", "sunken", ...) on
frames. No widget carries a style sheet of its own.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from importlib.resources import files
from string import Template

from gui.theme.tokens import Colors, Size, Space


@lru_cache(maxsize=2)
def style_sheet(now: Colors) -> str:
    """The style sheet in these colours."""
    values: dict[str, object] = {name: value for name, value in asdict(now).items() if isinstance(value, str)}
    values.update({f"space_{n.lower()}": getattr(Space, n) for n in ("XS", "S", "M", "L", "XL")})
    values.update({f"size_{n.lower()}": getattr(Size, n) for n in vars(Size) if n.isupper()})
    values.update(radius=Space.RADIUS, radius_small=Space.RADIUS_SMALL)
    shade = "dark" if now.is_dark else "light"
    values.update(icons=(files("resources") / "themes" / shade).as_posix())  # type: ignore[attr-defined]
    return Template((files("resources") / "themes" / "holdfast.qss").read_text("utf-8")).substitute(values)
