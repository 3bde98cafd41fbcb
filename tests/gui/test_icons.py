"""The drawings: every name that the interface uses has one; another is refused where it is given."""

from __future__ import annotations

import ast
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
from PySide6.QtSvg import QSvgRenderer

import gui
from gui.actions import Actions
from gui.theme import IconName, UnknownIcon, icon, pixmap
from gui.widgets import EmptyState, tool_button

DRAWINGS = {
    Path(drawing.name).stem: drawing.read_bytes()
    for drawing in (files("resources") / "icons").iterdir()
    if drawing.name.endswith(".svg")
}
PLACES = {"icon": 0, "pixmap": 0, "tool_button": 0, "EmptyState": 0, "StartTile": 0, "_put": 1, "button": 3}
"""Where among the arguments of these functions the name of a drawing stands."""
TABLES = ("_LOOK", "_OUTCOMES", "_PICTURES")
"""Dictionaries whose values are, or begin with, the name of a drawing."""


def _constants(node: ast.AST | None) -> list[str]:
    """The texts that an expression can come to."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return _constants(node.body) + _constants(node.orelse)
    return _constants(node.body) if isinstance(node, ast.Lambda) else []


def _used_in(source: str) -> set[str]:
    """The names of drawings that a module names: in calls, in loops over actions, in tables of looks."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = PLACES.get(called)
            if place is not None and len(node.args) > place:
                names += _constants(node.args[place])
            names += [n for word in node.keywords if word.arg == "icon_name" for n in _constants(word.value)]
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Tuple):
            targets = [getattr(target, "id", "") for target in node.target.elts]
            lines = [line for line in getattr(node.iter, "elts", []) if isinstance(line, ast.Tuple)]
            for place in (p for p, name in enumerate(targets) if name in ("drawing", "icon_name")):
                names += [
                    n for line in lines if isinstance(line, ast.Tuple) for n in _constants(line.elts[place])
                ]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if getattr(target, "id", "") == "icon_name":
                names += _constants(node.value)
            elif getattr(target, "id", "") in TABLES and isinstance(node.value, ast.Dict):
                for value in node.value.values:
                    names += _constants(value.elts[0] if isinstance(value, ast.Tuple) else value)
    return {name for name in names if name}


def test_every_icon_that_the_interface_names_is_drawn():
    modules = list(Path(gui.__file__).parent.rglob("*.py"))
    used = {path: _used_in(path.read_text("utf-8")) for path in modules}
    unknown = {str(path): names - set(DRAWINGS) for path, names in used.items() if names - set(DRAWINGS)}
    assert not unknown
    assert len(set.union(*used.values())) > 40, "the names were not found where they are used"


def test_the_names_that_the_type_checker_knows_are_the_drawings():
    assert set(get_args(IconName)) == set(DRAWINGS)


def test_every_drawing_can_be_drawn():
    for name, drawing in DRAWINGS.items():
        assert QSvgRenderer(drawing).isValid(), name


@pytest.mark.parametrize(
    "make",
    [icon, lambda name: pixmap(name, 16), lambda name: tool_button(name, "Look")],
    ids=["icon", "pixmap", "button"],
)
def test_an_icon_without_a_drawing_is_refused_before_it_is_painted(qapp, make):
    # In a paint event it would end the process.
    with pytest.raises(UnknownIcon, match="no drawing 'harbor'"):
        make("harbor")


def test_parts_that_name_an_icon_without_a_drawing_are_not_made(window):
    with pytest.raises(UnknownIcon):
        EmptyState("harbor", "Nothing", "")
    with pytest.raises(UnknownIcon):
        Actions(window).add("look", "Look", print, icon_name="harbor")
