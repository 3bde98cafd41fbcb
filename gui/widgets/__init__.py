"""Shared widgets: they know values and the theme, never the engine."""

from gui.widgets.basics import (
    ElidedLabel,
    Pill,
    button,
    clear,
    column,
    indent,
    label,
    row,
    rule,
    set_look,
    tool_button,
)
from gui.widgets.card import Card
from gui.widgets.charts import TimeLine
from gui.widgets.command_line import CommandLine
from gui.widgets.confirm_bar import ConfirmBar
from gui.widgets.empty_state import EmptyState
from gui.widgets.error_card import ErrorCard
from gui.widgets.fitted_dialog import FittedDialog
from gui.widgets.page_header import PageHeader
from gui.widgets.recovery_bar import RecoveryBar
from gui.widgets.score_ring import ScoreRing
from gui.widgets.stat_tile import StatTile
from gui.widgets.status_strip import StatusStrip
from gui.widgets.stepper import Step, Stepper, StepState

__all__ = [
    "Card",
    "CommandLine",
    "ConfirmBar",
    "ElidedLabel",
    "EmptyState",
    "ErrorCard",
    "FittedDialog",
    "PageHeader",
    "Pill",
    "RecoveryBar",
    "ScoreRing",
    "StatTile",
    "StatusStrip",
    "Step",
    "StepState",
    "Stepper",
    "TimeLine",
    "button",
    "clear",
    "column",
    "indent",
    "label",
    "row",
    "rule",
    "set_look",
    "tool_button",
]
