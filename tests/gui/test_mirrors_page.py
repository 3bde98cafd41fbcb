"""The page of mirrors over a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QLabel

from engine.mirrors.failover import fail_over_task
from engine.types import MirrorInfo, MirrorOutlook, MirrorPhase
from gui.main_window import MainWindow
from gui.mirrors import MirrorsPage
from gui.mirrors.dialogs import AddMirrorDialog
from gui.mirrors.failback import FailBackDialog
from gui.mirrors.former import FormerDialog
from gui.mirrors.takeover import TakeoverDialog
from gui.mirrors.words import kind_word, lag_word, loss_words, state_tone, state_word
from gui.theme import Tone

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def filled(window: MainWindow, tmp_path: Path, until: Until) -> MainWindow:
    window.shell.create_requested.emit(tmp_path / "stock.holdfast")
    until(lambda: window.opening.session is not None)
    with database_of(window).transaction() as txn:
        tree = txn.tree("stock")
        for n in range(2000):
            tree[b"%05d" % n] = b"x" * 100
    window.show_page("mirrors")
    return window


def database_of(window: MainWindow) -> Any:
    session = window.opening.session
    assert session is not None
    return session.database


def page_of(window: MainWindow) -> MirrorsPage:
    page = window.pages["mirrors"]
    assert isinstance(page, MirrorsPage)
    return page


def mirrored(window: MainWindow, until: Until) -> MirrorsPage:
    """The page after a mirror was added by its dialog and has everything."""
    page = page_of(window)
    page.add_mirror()
    page.findChild(AddMirrorDialog).add()

    def is_level() -> bool:
        chosen = page.view.current()
        return chosen is not None and chosen.is_level

    until(is_level)
    return page


def test_without_a_mirror_the_page_says_what_one_is_for(filled: MainWindow, until: Until) -> None:
    page = page_of(filled)
    until(lambda: page._level.value() == "–")
    assert page._stack.currentIndex() == 0


def test_a_mirror_is_added_proved_and_takes_over(filled: MainWindow, until: Until) -> None:
    first = database_of(filled).path
    page = mirrored(filled, until)
    chosen = page.view.current()
    assert state_word(chosen) == "has everything"
    told: list[str] = []
    filled.shell.told.connect(told.append)
    page.prove_chosen()
    until(lambda: any("is whole" in text for text in told))
    page.ask_fail_over()
    until(page.question.isVisible)
    assert "nothing is lost" in page.question.accessibleName()
    page.question.confirmed.emit()
    until(lambda: filled.opening.session is not None and database_of(filled).path != first)
    assert str(database_of(filled).path) == chosen.path


def test_a_mirror_is_removed_after_a_question(filled: MainWindow, until: Until) -> None:
    page = mirrored(filled, until)
    page.ask_remove()
    assert page.question.isVisible()
    page.question.confirmed.emit()
    until(lambda: page._stack.currentIndex() == 0)
    assert database_of(filled).mirrors.list() == ()


def test_a_mirror_is_mended_from_the_page(filled: MainWindow, until: Until) -> None:
    page = mirrored(filled, until)
    told: list[str] = []
    filled.shell.told.connect(told.append)
    page.mend_chosen()
    until(lambda: any("Every page of the mirror is whole" in text for text in told))


def test_a_database_that_is_gone_offers_its_mirror_says_what_may_be_lost_and_opens_it(
    filled: MainWindow, until: Until, tmp_path: Path
) -> None:
    first = database_of(filled).path
    mirror = Path(mirrored(filled, until).view.current().path)
    filled.close_database()
    until(lambda: filled.opening.session is None)
    first.rename(tmp_path / "gone")
    filled.show_page("welcome")
    welcome = filled.pages["welcome"]
    until(lambda: any("a mirror can take over" in part.text() for part in welcome.findChildren(QLabel)))
    filled.shell.open(first)
    until(lambda: filled.findChild(TakeoverDialog) is not None)
    dialog = filled.findChild(TakeoverDialog)
    assert dialog.chosen().path == mirror
    assert "Its last commit is of" in dialog.loss.text()
    assert str(mirror) in dialog.command.text()
    dialog.take_over()
    until(lambda: filled.opening.session is not None)
    assert database_of(filled).path == mirror


def test_a_former_primary_gets_its_place_back(filled: MainWindow, until: Until) -> None:
    first = database_of(filled).path
    page = mirrored(filled, until)
    assert not page.back.isVisibleTo(page)
    page.fail_over()
    until(lambda: filled.opening.session is not None and database_of(filled).path != first)
    until(lambda: page.back.isVisibleTo(page))
    page.fail_back()
    dialog = page.findChild(FailBackDialog)
    assert dialog.former == first
    until(dialog.go.isEnabled)
    assert "Nothing is lost" in dialog.words.text()
    dialog.switch()
    until(lambda: filled.opening.session is not None and database_of(filled).path == first)


def test_what_only_a_former_primary_holds_is_saved_and_it_is_made_a_mirror_anew(
    filled: MainWindow, until: Until, tmp_path: Path
) -> None:
    former = database_of(filled).path
    successor = Path(mirrored(filled, until).view.current().path)
    database_of(filled).mirrors.remove(successor)
    with database_of(filled).transaction() as txn:
        txn.tree("stock")[b"only there"] = b"x"
    filled.close_database()
    until(lambda: filled.opening.session is None)
    fail_over_task(successor).run()
    filled.shell.open(successor)
    until(lambda: filled.opening.session is not None)
    filled.show_page("mirrors")
    page = page_of(filled)
    page.refresh()
    until(lambda: page.view.current() is not None and page.view.current().phase is MirrorPhase.REFUSED)
    until(lambda: page.settle.isVisibleTo(page))
    page.settle_chosen()
    dialog = page.findChild(FailBackDialog)
    assert dialog.former == former
    until(lambda: dialog.save.isVisibleTo(dialog))
    assert not dialog.go.isVisibleTo(dialog)
    assert "row by row" in dialog.words.text()
    dialog.save_rows()
    guide = dialog.findChild(FormerDialog)
    until(lambda: bool(guide.choose.tables.rowCount()))
    assert "only" in guide.windowTitle()
    words = guide.command.text()
    assert " compare " in words
    assert str(former) in words
    guide.close()
    dialog.ask_renew()
    assert dialog.question.isVisibleTo(dialog)
    assert "is lost for good" in dialog.question.accessibleName()
    dialog.question.confirmed.emit()
    until(lambda: dialog.go.isVisibleTo(dialog) and dialog.go.isEnabled())
    assert "Nothing is lost" in dialog.words.text()
    dialog.close()
    assert database_of(filled).mirrors.find(former).phase is MirrorPhase.FOLLOWING


def a_mirror(**values: Any) -> MirrorInfo:
    known: dict[str, Any] = {
        "path": "/m",
        "synchronous": False,
        "in_step": False,
        "phase": MirrorPhase.FOLLOWING,
        "shipped_lsn": 900,
        "redone_lsn": 0,
        "lag_bytes": 0,
        "lag_s": 0.0,
        "held": True,
        "copies": 0,
        "copied": 0,
        "to_copy": 0,
        "shipped_bytes": 0,
    }
    return MirrorInfo(**{**known, **values})


def test_what_a_mirror_does_is_said_in_a_word_and_a_colour() -> None:
    assert (state_word(a_mirror()), state_tone(a_mirror())) == ("has everything", Tone.GOOD)
    assert lag_word(a_mirror(lag_bytes=2048)) == "2.00 KiB"
    lost = a_mirror(phase=MirrorPhase.LOST)
    assert (state_word(lost), state_tone(lost)) == ("lost", Tone.BAD)
    copying = a_mirror(phase=MirrorPhase.COPYING, copied=25, to_copy=100, shipped_lsn=0)
    assert state_word(copying) == "being copied, 25 %"
    assert state_tone(copying) is Tone.WARN
    assert kind_word(a_mirror(synchronous=True)) == "synchronous, not waited for"


def test_what_may_be_lost_is_said_first() -> None:
    seen = MirrorOutlook("/m", "/p", 1, 900, 0.0, 0, 4096, 3)
    assert "3 commits" in loss_words(seen)
    assert "would be lost" in loss_words(seen)
    assert "cannot be told" in loss_words(MirrorOutlook("/m", "/p", 1, 900, 0.0, 0, None, None))
    assert "damaged" in loss_words(MirrorOutlook("/m", "/p", 1, 900, 0.0, 0, 0, 0, broken="bad checksum"))


def test_a_mirror_that_is_not_whole_is_told_until_it_is_answered_and_mended(
    filled: MainWindow, until: Until
) -> None:
    page = mirrored(filled, until)
    chosen = page.view.current()
    assert chosen is not None
    with (Path(chosen.path) / "database.holdfast").open("r+b") as file:
        file.seek(12 * 8192 + 300)
        file.write(b"what a disk made up!")
    told: list[str] = []
    filled.shell.told.connect(told.append)
    page.prove_chosen()
    until(page.question.isVisible)
    assert "is damaged" in page.question._text.text()
    assert page.question._yes.text() == "Mend it"
    page.question._confirm()
    until(lambda: any(text.startswith("One damaged page of the mirror was replaced") for text in told))
    page.prove_chosen()
    until(lambda: any("is whole" in text for text in told))
    assert not page.question.isVisible()
