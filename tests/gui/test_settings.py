"""Settings are checked while they are typed, and only what is allowed can be saved."""

from __future__ import annotations

import pytest

from engine.config import Config
from engine.settings import Problem
from gui.settings.database import DatabaseSettings


@pytest.fixture
def card(window):
    card = window.pages["settings"].database
    assert isinstance(card, DatabaseSettings)
    card._show(Config())
    return card


def type_in(card, name, text):
    card.lines[name]._editor.setText(text)
    card.lines[name]._editor.textEdited.emit(text)


def test_nothing_can_be_saved_before_something_has_changed(card):
    assert not card.save.isEnabled()
    type_in(card, "cache_size", "128 MiB")
    assert card.save.isEnabled()
    assert card.lines["cache_size"].value() == 128 << 20


def test_a_wrong_value_is_named_with_its_fix_and_cannot_be_saved(card):
    type_in(card, "cache_size", "12 bananas")
    assert isinstance(card.lines["cache_size"].value(), Problem)
    assert "Write a size" in card.lines["cache_size"]._problem.text()
    assert not card.save.isEnabled()


def test_undo_puts_back_what_is_kept(card):
    type_in(card, "lock_timeout", "1 s")
    card._undo.click()
    assert card.lines["lock_timeout"].value() == Config().lock_timeout
    assert not card.save.isEnabled()
