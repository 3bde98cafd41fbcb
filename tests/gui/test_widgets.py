"""Shared widgets, in both themes."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QWidget

from engine.catalogue import entries
from engine.errors import IoError, by_code
from engine.types import Severity
from gui.tasks import error_card
from gui.theme import DARK, LIGHT, ThemeMode, colors
from gui.widgets import (
    ConfirmBar,
    FittedDialog,
    Step,
    Stepper,
    StepState,
    TimeLine,
    button,
    column,
    formats,
    label,
)


def contrast(one, other):
    """The contrast of two colours, as the accessibility guidelines (WCAG 2.1) count it."""

    def luminance(color):
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme_colors", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_in_every_colour_it_has(theme_colors):
    now = theme_colors
    for text in (now.text, now.text_muted, now.accent, now.good, now.warn, now.bad):
        for ground in (now.window, now.surface, now.sidebar):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for tone, ground in ((now.good, now.good_soft), (now.warn, now.warn_soft), (now.bad, now.bad_soft)):
        assert contrast(tone, ground) >= 4.5, (tone, ground)
    for ground in (now.accent, now.accent_hover, now.bad, now.bad_hover):
        assert contrast(now.on_accent, ground) >= 4.5, ground


def test_the_theme_in_force_is_told_from_the_palette(theme):
    assert colors() is LIGHT
    theme.set_mode(ThemeMode.DARK)
    assert colors() is DARK


@pytest.mark.parametrize("code", sorted(entries()), ids=str)
def test_every_code_has_a_card_with_its_four_answers(qtbot, theme, code):
    error = by_code()[code](**{name: "x" for name in entries()[code].fields if name != "suggested_action"})
    card = error_card(error)
    qtbot.addWidget(card)
    answers = card.words.answers
    for text in (card.words.title, card.words.message, answers.how_serious, answers.what_to_do):
        assert text
    assert str(code) in card.words.to_text()
    assert card.accessibleName()


def test_an_error_without_a_code_becomes_ours_and_keeps_its_text_to_itself(qtbot, theme, caplog):
    card = error_card(KeyError("a stored value"), "show a table")
    qtbot.addWidget(card)
    assert "a stored value" not in card.words.to_text()


def test_the_button_of_a_card_asks_for_its_action(qtbot, theme):
    card = error_card(IoError(operation="write", path="/x", os_error="gone"))
    qtbot.addWidget(card)
    assert card.words.severity in Severity
    with qtbot.waitSignal(card.action_requested) as asked:
        next(b for b in card.findChildren(type(card._toggle)) if b.text() == card.words.action_label).click()
    assert asked.args == [card.words.action]


def test_the_safe_button_of_a_question_has_the_focus(qtbot, theme):
    bar = ConfirmBar()
    qtbot.addWidget(bar)
    bar.ask("Two jobs are running.", "Cancel them", "Keep working")
    qtbot.waitExposed(bar)
    bar.activateWindow()
    qtbot.waitUntil(bar._no.hasFocus)
    with qtbot.waitSignal(bar.confirmed):
        bar._yes.click()


def test_steps_are_drawn_by_one_widget_and_told_in_words(qtbot, theme):
    stepper = Stepper()
    qtbot.addWidget(stepper)
    stepper.set_steps([Step("One", StepState.RUNNING), Step("Two")])
    stepper.resize(400, stepper.sizeHint().height())
    before = stepper.grab().toImage()
    stepper.set_steps([Step("One", StepState.DONE, "all well", "12 ms"), Step("Two", StepState.RUNNING)])
    assert stepper.grab().toImage() != before
    assert stepper.findChildren(QWidget) == []
    assert stepper.accessibleDescription() == "One: done. all well 12 ms\nTwo: running."


def test_only_a_line_that_changed_is_drawn_again(qtbot, theme):
    asked = []

    class Watched(Stepper):
        def update(self, *where):
            asked.append(where)

    stepper = Watched()
    qtbot.addWidget(stepper)
    stepper.set_steps([Step("One", time="1 ms"), Step("Two", time="1 ms"), Step("Three", time="1 ms")])
    asked.clear()
    stepper.set_steps(
        [Step("One", time="1 ms"), Step("Two", time="1 ms", detail="x"), Step("Three", time="1 ms")]
    )
    assert asked == [(0, round(stepper._top(1)), stepper.width(), stepper._high())]


def test_a_dialog_is_as_high_as_what_it_shows(qtbot, theme):
    dialog, more = FittedDialog(300, 100), label("words " * 200, wrap=True)
    dialog.setLayout(column(label("above"), more, button("below")))
    more.hide()
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(lambda: dialog.height() == 100)
    more.show()
    qtbot.waitUntil(lambda: more.height() >= more.heightForWidth(more.width()))
    assert dialog.height() > more.height() > 100
    more.hide()
    qtbot.waitUntil(lambda: dialog.height() == 100)
    dialog.resize(300, 200)
    more.setText("short")
    more.show()
    qtbot.waitUntil(lambda: more.height() > 0 and more.isVisible())
    assert dialog.height() == 200, "somebody has chosen it"
    dialog.let_shrink()
    more.hide()
    qtbot.waitUntil(lambda: dialog.height() == 100)


def test_a_chart_keeps_a_quarter_of_an_hour_in_fixed_room(qtbot, theme):
    chart = TimeLine(str)
    qtbot.addWidget(chart)
    series = chart.add_series("x")
    room = chart._series[series].at.size
    for number in range(3 * room // 2):
        chart.add(series, number * 0.1, number)
    kept = chart._series[series]
    assert kept.at.size == room
    assert kept.value[kept.used - 1] == 3 * room // 2 - 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (123456789, "118 MiB"), (2**40, "1.00 TiB")],
)
def test_sizes_read_as_people_write_them(value, text):
    assert formats.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0421, "42 ms"), (4.2, "4.20 s"), (61, "1 min 01 s"), (7260, "2 h 01 min"), (200000, "2 days")],
)
def test_times_read_as_people_say_them(seconds, text):
    assert formats.duration(seconds) == text


def test_the_name_of_a_mark_is_left_out_where_it_would_cross_the_mark_before(qtbot, theme):
    chart = TimeLine(str, 120)
    qtbot.addWidget(chart)
    chart.resize(600, 200)
    chart.show()
    for seconds_ago in (60, 50, 10):
        chart.mark(1000 - seconds_ago, "checkpoint")
    chart.refresh(1000)
    assert [line.label.isVisible() for _, line in chart._marks] == [True, False, True]


def test_marks_of_an_axis_differ_in_words_however_small_the_figures_are(qtbot, theme):
    chart = TimeLine(lambda value: f"{value:,.0f}", 120)
    qtbot.addWidget(chart)
    chart.add_series("commits")
    chart.resize(600, 300)
    chart.show()
    qtbot.waitExposed(chart)
    chart.add(0, 1000.0, 0.4)
    chart.refresh(1000.0)
    axis = chart.getAxis("left")
    low, high = chart.viewRange()[1]
    told = [
        words
        for spacing, values in axis.tickValues(low, high, 260)
        for words in axis.tickStrings(values, 1.0, spacing)
    ]
    assert len(told) > 1
    assert len(set(told)) == len(told)
