"""Short lists that are shown again and again with other figures."""

from pytestqt.qtbot import QtBot

from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel

FIELDS = (Field("Name", lambda r: r[0]), Field("Figure", lambda r: str(r[1]), True))


def test_the_chosen_line_follows_its_record_when_the_order_changes(qtbot: QtBot) -> None:
    model = RecordModel(FIELDS, lambda r: r[0])
    view = RecordView(model, "list", (100,))
    qtbot.addWidget(view)
    model.show([("a", 1), ("b", 2), ("c", 3)])
    view.choose_line(1)
    model.show([("c", 9), ("b", 7), ("a", 8)])
    assert view.current() == ("b", 7)
    model.show([("b", 10), ("c", 9)])
    assert view.current() == ("b", 10)
    model.show([("c", 9)])
    assert view.current() is None


def test_more_records_than_anyone_reads_are_counted_not_shown() -> None:
    model = RecordModel(FIELDS, lambda r: r[0], limit=10)
    model.show([(str(n), n) for n in range(25)])
    assert model.rowCount() == 10
    assert model.hidden == 15


def test_numbers_are_shown_whole_however_large_they_are(qtbot: QtBot) -> None:
    model = RecordModel(FIELDS, lambda r: r[0])
    view = RecordView(model, "list", (100,))
    qtbot.addWidget(view)
    view.fit_numbers()
    view.resize(300, 200)
    view.show()
    qtbot.waitExposed(view)
    model.show([("a", 123_456_789_012)])
    needed = view.fontMetrics().horizontalAdvance("123456789012")
    qtbot.waitUntil(lambda: view.columnWidth(1) > needed)
    assert sum(view.columnWidth(place) for place in (0, 1)) <= view.viewport().width()
