"""What happens in the tour, and what must hold in it."""

from __future__ import annotations

import threading
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication, QDialog, QPushButton, QWidget

from engine.types import Outcome
from gui.backups.moments import StopKind
from gui.backups.rescue_dialog import CHOOSE, DONE, PREVIEW
from gui.backups.time_line import BackupTimeLine
from gui.integrity.repair_dialog import ADVISE, CLOSE
from gui.tasks import EngineSession, Job
from gui.tour.crash import Victim, verdict
from gui.tour.damage import add_beacons, spoil
from gui.tour.stage import Pause, Script, Stage, Until

ACKNOWLEDGED_BEFORE_KILL = 400
_LOST_ROWS = 24


class Story:
    """Create, import, browse, edit, work, back up, rescue, mirror, check, repair, crash, recover, prove."""

    def __init__(self, stage: Stage, place: Path) -> None:
        self._stage = stage
        self._window = stage.window
        self._path = place / "harbour.holdfast"
        self._heard: dict[str, Any] = {}

    def script(self) -> Script:
        """The whole tour."""
        yield Pause(0.5)
        self._stage.picture("welcome", "The welcome page")
        yield from self._import_sample()
        yield from self._edit()
        yield from self._work()
        yield from self._wait_for_each_other()
        yield from self._back_up()
        yield from self._rescue()
        yield from self._snapshot()
        yield from self._mirror()
        yield from self._check()
        yield from self._damage()
        yield from self._alerts()
        yield from self._repair()
        yield from self._crash()
        yield from self._recover()

    # Data

    def _import_sample(self) -> Script:
        self._act("database.sample")
        yield Until("the import dialog", lambda: self._dialog("ImportDialog"))
        dialog: Any = self._dialog("ImportDialog")
        yield Until("the plan of the import", lambda: dialog.go.isEnabled())
        yield Pause(0.3)
        self._stage.picture("import", "What the sample holds, before anything is written")
        dialog.go.click()
        yield Until("the import", lambda: dialog.go.isEnabled() and not self._window.jobs.running())
        yield Pause(0.3)
        self._stage.picture("imported", "The sample is imported")
        dialog.go.click()
        yield Until("the dialog to close", lambda: not self._dialog("ImportDialog"))
        tables: Any = self._window.pages["tables"]
        tables.show_table("readings")
        yield Until("the rows", lambda: self._model() is not None and self._model().row_at(0) is not None)
        yield Pause(0.5)
        self._stage.picture("tables", "Twenty thousand readings, paged by key")

    def _edit(self) -> Script:
        tables: Any = self._window.pages["tables"]
        model = self._model()
        model.stage_value(1, 3, 12.5)
        model.stage_value(2, 4, 1)
        tables.workspace.review()
        yield Until("the preview", lambda: self._dialog("PreviewDialog"))
        yield Pause(0.3)
        self._stage.picture("preview", "Two edits, staged and shown before they are written")
        self._dialog("PreviewDialog").close()
        tables.workspace.commit()
        yield Until("the edits to be written", lambda: not tables.staged())
        self._stage.say("The edits were written in one transaction")

    # Work

    def _work(self) -> Script:
        spec = {"threads": 4, "operations": 50_000_000, "value_bytes": 150, "read_share": 0.3, "keys": 20_000}
        session = self._session()
        session.run(lambda db: db.load_task({**spec, "tree": "load", "batch": 5, "seed": 7})).done(
            self._start
        )
        yield Until("the load to begin", lambda: self._job("Load"))
        self._window.show_page("overview")
        yield Pause(4)
        self._stage.picture("overview", "The engine at work, live")
        self._act("log.checkpoint")
        self._window.show_page("log")
        yield Pause(2.5)
        self._stage.picture("log", "The log grows; a checkpoint passes")
        self._window.show_jobs(True)
        yield Pause(0.5)
        self._stage.picture("jobs", "Long work has a bar, its time left, and a way to cancel it")
        job = self._job("Load")
        assert job is not None
        job.cancel()
        yield from self._job_ends("Load", Outcome.CANCELLED)
        self._window.show_jobs(False)

    def _wait_for_each_other(self) -> Script:
        """Three transactions, each of which waits for the one before."""
        ready, release = threading.Barrier(4), threading.Event()
        session = self._session()
        for number in range(4):
            hold = partial(_hold_and_wait, number, ready, release)
            session.run(hold, channel=f"tour-{number}")
        self._window.show_page("activity")
        page: Any = self._window.pages["activity"]
        yield Until("the waits", lambda: _waiters(session) >= 3 and page.is_drawn)
        yield Pause(1.2)
        self._stage.picture("activity", "Who waits for whom")
        release.set()
        yield Until("the waits to end", lambda: _waiters(session) == 0)

    # Safety

    def _back_up(self) -> Script:
        self._window.show_page("backups")
        self._act("backups.take")
        yield Until("the backup dialog", lambda: self._dialog("BackupDialog"))
        dialog: Any = self._dialog("BackupDialog")
        yield Pause(0.3)
        dialog.start()
        yield Until("the backup", lambda: dialog.go.isHidden())
        yield Pause(0.3)
        self._stage.picture("backup", "A backup, taken while in use, and its proof")
        dialog.close()
        yield Pause(0.5)
        self._stage.picture("backups", "The list of backups")

    def _rescue(self) -> Script:
        """Rows are deleted, and brought back from the moment before."""
        page: Any = self._window.pages["backups"]
        line = page.past.line
        self._session().run(_lose_rows).done(lambda _: page.refresh())
        yield Until("the loss on the time line", lambda: _place_of_backup(line) < len(line.moments.stops) - 2)
        line.go_to(_place_of_backup(line) + 1)
        yield Pause(0.8)
        self._stage.picture("past", "The past on one line; the slider snaps to commits")
        line.go_to(_place_of_backup(line))
        page.past.rescue()
        yield Until("the rescue guide", lambda: self._dialog("RescueDialog"))
        dialog: Any = self._dialog("RescueDialog")
        yield Until("the difference", lambda: dialog.step == CHOOSE and dialog.choose.rows.rowCount())
        yield Pause(0.3)
        self._stage.picture("difference", "What has changed since, row by row")
        dialog.choose.take_table.click()
        dialog.go.click()
        yield Until("the count", lambda: dialog.step == PREVIEW and dialog.go.isEnabled())
        dialog.go.click()
        yield Until("the rescue", lambda: dialog.step == DONE)
        yield Pause(0.3)
        self._stage.picture("rescued", "The rows are back, in one transaction")
        dialog.accept()
        yield Until("the rescue guide to close", lambda: not self._dialog("RescueDialog"))

    def _snapshot(self) -> Script:
        page: Any = self._window.pages["backups"]
        page.snapshots.show_all()
        yield Until("the snapshots", lambda: self._dialog("SnapshotsDialog"))
        dialog: Any = self._dialog("SnapshotsDialog")
        dialog.name.setText("before the season")
        dialog.take()
        yield Until("the snapshot", lambda: dialog.model.rowCount() == 1)
        yield Pause(0.5)
        self._stage.picture("snapshots", "A named moment that costs only the pages changed since")
        dialog.close()
        yield Until("the snapshots to close", lambda: not self._dialog("SnapshotsDialog"))

    def _mirror(self) -> Script:
        page: Any = self._window.pages["mirrors"]
        self._window.show_page("mirrors")
        page.add_mirror()
        yield Until("the dialog of a mirror", lambda: self._dialog("AddMirrorDialog"))
        dialog: Any = self._dialog("AddMirrorDialog")
        yield Pause(0.3)
        self._stage.picture("mirror", "Where a second copy is kept, and what may be lost")
        dialog.add()
        yield Until("the mirror to be level", lambda: (info := page.view.current()) and info.is_level)
        yield Pause(0.5)
        self._stage.picture("mirrors", "A mirror follows the log")

    def _check(self) -> Script:
        page: Any = self._window.pages["integrity"]
        self._window.show_page("integrity")
        page.check()
        yield from self._job_ends("Check")
        yield Pause(0.5)
        self._stage.picture("integrity", "Every page checked")

    def _damage(self) -> Script:
        answer = self._session().run(add_beacons)
        answer.done(lambda found: self._heard.update(spoiled=found))
        answer.failed(lambda error: self._heard.update(spoiled=error))
        yield Until("the beacons", lambda: "spoiled" in self._heard)
        self._act("database.close")
        yield Until("the database to close", lambda: self._window.opening.session is None)
        page, size = self._heard["spoiled"]
        spoil(self._path, page, size)
        self._stage.say(f"Wrote rubbish into page {page} of the closed database")
        self._window.shell.open(self._path)
        yield Until("the database to open", lambda: self._window.opening.session is not None)
        shown: Any = self._window.pages["integrity"]
        # It would find and repair the page before anybody has seen the guide.
        shown.scrub.toggle()
        self._window.show_page("integrity")
        shown.check()
        yield Until("the finding", lambda: shown.model.rowCount() == 1 and not shown.map_card.is_looking)
        yield Pause(0.8)
        self._stage.picture("damage", "The damage, found: which page, which tree, and where on the map")

    def _alerts(self) -> Script:
        page: Any = self._window.pages["alerts"]
        self._window.show_page("alerts")
        yield Until("the alert", lambda: page.line_about("data") is not None)
        page.view.choose_line(page.line_about("data"))
        yield Pause(0.8)
        self._stage.picture("alerts", "Somebody is told: how grave it is, and what to do")
        page.acknowledge_chosen()
        yield Until("the answer", lambda: not page.detail.acknowledge.isVisible())
        self._window.show_page("integrity")

    def _repair(self) -> Script:
        shown: Any = self._window.pages["integrity"]
        shown.detail.repair.click()
        yield Until("the repair guide", lambda: self._dialog("RepairDialog"))
        dialog: Any = self._dialog("RepairDialog")
        dialog.advise()
        yield Until("the advice", lambda: dialog.step == ADVISE)
        yield Pause(0.3)
        self._stage.picture("repair-advice", "Every source for the page, best first, with what each costs")
        dialog.go.click()
        dialog.rehearse()
        yield Until("the rehearsal", lambda: not dialog.preview.banner.isHidden())
        yield Pause(0.3)
        self._stage.picture("repair-preview", "What the repair will do, rehearsed")
        dialog.repair()
        yield Until("the repair", lambda: dialog.step == CLOSE)
        yield Pause(0.3)
        self._stage.picture("repaired", "Repaired, verified, and what was lost: nothing")
        dialog.accept()
        yield Until("the findings to be closed", lambda: shown.model.rowCount() == 0)

    def _crash(self) -> Script:
        self._act("database.close")
        yield Until("the database to close", lambda: self._window.opening.session is None)
        yield Pause(0.3)
        victim = Victim(self._path)
        yield Until(
            "the child process to commit",
            lambda: len(victim.acknowledged) >= ACKNOWLEDGED_BEFORE_KILL or victim.is_over,
        )
        victim.kill()
        yield Until("the child process to be gone", lambda: victim.is_over)
        self._heard["acknowledged"] = list(victim.acknowledged)
        count = len(victim.acknowledged)
        self._stage.say(f"Killed process {victim.pid} after {count} acknowledged commits, in mid-work")

    def _recover(self) -> Script:
        page: Any = self._window.pages["recovery"]
        self._window.shell.open(self._path)
        yield Until("the guide", lambda: self._window.current_page_id() == "recovery")
        yield Until("the plan", lambda: self._button(page, "Replay"))
        yield Pause(0.5)
        self._stage.picture("recovery-evidence", "What was found, and what would be done")
        page.show_ways()
        yield Until("the ways out", lambda: page.ways.cards)
        yield Pause(0.3)
        self._stage.picture("recovery-ways", "Every way out, with what it costs")
        page.rehearse()
        yield Until("the rehearsal", lambda: page.work.plan_hash and not page.work.is_busy)
        yield Pause(0.3)
        self._stage.picture("recovery-rehearsed", "The whole recovery, rehearsed beside the database")
        self._act("recovery.start")
        yield Until("the recovery", lambda: self._window.opening.session is not None, 120)
        yield Pause(0.8)
        self._stage.picture("recovery-proof", "Recovered, with proof")
        session = self._session()
        acknowledged = self._heard["acknowledged"]
        answer = session.run(lambda db: verdict(db, acknowledged))
        answer.done(lambda found: self._heard.update(verdict=found))
        answer.failed(lambda error: self._heard.update(verdict=error))
        yield Until("the count", lambda: "verdict" in self._heard)
        if self._heard["verdict"] != (0, 0):
            raise AssertionError(f"(missing commits, rows never committed) = {self._heard['verdict']}")
        self._stage.say(f"All {len(acknowledged)} acknowledged commits are there; nothing else is")
        self._window.show_page("overview")
        yield Pause(1.5)
        self._stage.picture("recovered", "Back at work")
        self._window.show_page("settings")
        yield Pause(0.8)
        self._stage.picture("settings", "Settings, with what each does")

    # Helpers

    def _job(self, name: str) -> Job | None:
        return next((job for job in reversed(self._window.jobs.all()) if job.name == name), None)

    def _job_ends(self, name: str, wanted: Outcome = Outcome.SUCCEEDED) -> Script:
        """Wait for a job to begin and to end; it must have ended as it should."""
        yield Until(f"the job {name} to begin", lambda: self._job(name))
        job = self._job(name)
        assert job is not None
        yield Until(f"the job {name} to end", lambda: job.is_over, 120)
        if job.task.outcome is not wanted:
            raise AssertionError(f"{name}: {job.task.outcome}, {job.task.error}")

    def _act(self, action_id: str) -> None:
        self._window.actions_registry.get(action_id).trigger()

    def _session(self) -> EngineSession:
        session = self._window.opening.session
        assert session is not None
        return session

    def _start(self, task: Any) -> None:
        self._window.jobs.start(task)

    def _model(self) -> Any:
        tables: Any = self._window.pages["tables"]
        return tables.workspace.model

    @staticmethod
    def _dialog(kind: str) -> Any:
        shown = [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]
        return next((dialog for dialog in shown if type(dialog).__name__ == kind), None)

    @staticmethod
    def _button(inside: QWidget, words: str) -> QPushButton | None:
        found = (b for b in inside.findChildren(QPushButton) if b.text().startswith(words) and b.isEnabled())
        return next(found, None)


def _waiters(session: EngineSession) -> int:
    """Transactions that wait for a lock, as last sampled."""
    return 0 if session.last_sample is None else session.last_sample.status.waiters


def _place_of_backup(line: BackupTimeLine) -> int:
    """Where the slider snaps to the newest backup. Places move when commits are read one by one."""
    backups = [n for n, stop in enumerate(line.moments.stops) if stop.kind is StopKind.BACKUP]
    return backups[-1] if backups else len(line.moments.stops)


def _lose_rows(database: Any) -> None:
    """Delete what somebody will miss. Runs on a worker."""
    with database.transaction() as txn:
        table = txn.table("readings")
        for key in [row[0] for row in islice(table.rows(), _LOST_ROWS)]:
            table.delete(key)


def _hold_and_wait(number: int, ready: threading.Barrier, release: threading.Event, database: Any) -> None:
    """Hold lock `number`, then ask for the one before it, so that a chain of waits forms."""
    txn = database.begin()
    try:
        txn.lock(f"pier {number}")
        ready.wait(60)
        if number:
            txn.lock(f"pier {number - 1}", timeout_s=60)
        else:
            release.wait(60)
    finally:
        txn.abort()
