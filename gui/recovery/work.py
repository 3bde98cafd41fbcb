"""The engine's side of the guide: one database, its manager, and what is being done with it.

Everything runs on threads of the engine or on the shell's worker; answers come by signal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from engine.errors import BackupLocked, Cancelled, HoldfastError, from_exception
from engine.recovery.choices import BackupOffer, ChoiceKind, choices
from engine.tasks import Task
from gui.page import Shell
from gui.tasks import Job

if TYPE_CHECKING:
    from engine.recovery.manager import RecoveryManager
    from engine.recovery.report import RecoveryPlan, RecoveryReport


class RecoveryWork(QObject):
    """Does one thing at a time. `look_at` begins anew; what was begun before is then not heard of."""

    looked = Signal(object)
    """The `RecoveryManager`: the signs are known."""
    planned = Signal(object)
    """The `RecoveryPlan`."""
    troubled = Signal(object, str)
    """The database could not be looked at or planned for: the error and the operation."""
    offered = Signal(object)
    """Every `Choice`, ranked."""
    began = Signal(object, bool)
    """A rehearsal (True) or a recovery has begun: its `Job`."""
    followed = Signal(object)
    """Other work has begun, with nothing to show but its `Job`: a salvage, opening read-only."""
    progressed = Signal(object)
    """A `TaskProgress`; `report` has the rest."""
    rehearsed = Signal(object)
    """The `RecoveryReport` of a rehearsal that went well."""
    prepared = Signal(object)
    """The `RecoveryReport`: all is recovered beside the database, and waits for `install` or `roll_back`."""
    recovered = Signal(object)
    """The open `Database`; `recovery_report` is its own."""
    rolled_back = Signal(object)
    """The `RecoveryReport` of what was prepared and dropped."""
    saved = Signal(object)
    """The `SalvageReport`."""
    restored = Signal(object, object)
    """A backup was restored and rolled forward: the `RestoreResult` and the point `Reached`."""
    opened = Signal(object, str)
    """A `Database` that is read-only or still being recovered, and what to say of it."""
    failed = Signal(object, str)
    """The error and the operation. Cancelled work fails with `Cancelled`."""

    def __init__(self, shell: Shell, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._shell = shell
        self.path: Path | None = None
        self.manager: RecoveryManager | None = None
        self.plan: RecoveryPlan | None = None
        self.trouble: HoldfastError | None = None
        """What a plan, a rehearsal or a recovery has ended with."""
        self.job: Job | None = None
        """What runs now."""
        self._is_starting = False
        """Something was asked for whose job is not there yet: nothing else is begun meanwhile."""
        self.fallback = ""
        self.plan_hash = ""
        """Of the rehearsal that is to be carried out."""
        self.roll_forward_from: Path | None = None
        """What the kept log can bring forward: the folder of backups, or one of them."""
        self._failed: dict[ChoiceKind, HoldfastError] = {}
        """The ways that were tried in vain, with what each ended with."""
        self._round = 0

    @property
    def is_busy(self) -> bool:
        return self.job is not None or self._is_starting

    @property
    def is_prepared(self) -> bool:
        """Whether something is recovered, and waits for `install` or `roll_back`."""
        return self.manager is not None and self.manager.is_prepared

    @property
    def report(self) -> RecoveryReport | None:
        return None if self.manager is None else self.manager.report

    def look_at(self, path: Path, trouble: HoldfastError | None = None) -> None:
        """Find the signs, then read the log and plan; changes nothing. With `trouble`, only tell that."""
        self.forget()
        self.path = path
        if trouble is not None:
            self.trouble = trouble
            self.troubled.emit(trouble, self.tr("open the database"))
            return

        def look(manager: RecoveryManager) -> None:
            self.looked.emit(manager)
            self._make_plan(manager)

        self._make_manager(look)

    def forget(self) -> None:
        """Let go of the database; what is being looked at is stopped."""
        self._round += 1
        if self.job is not None:
            self.job.cancel()
        if self.is_prepared and self.manager is not None:
            self._shell.run(self.manager.roll_back)
        self.job = None
        self._is_starting = False
        self.path = self.manager = self.plan = self.trouble = None
        self.plan_hash = self.fallback = ""
        self._failed = {}

    def cancel(self) -> None:
        """Ask what runs to stop."""
        if self.job is not None:
            self.job.cancel()

    def choose_fallback(self, fallback: str) -> None:
        """Rehearse and recover in this way from now on: "" or "last-valid"."""
        if fallback != self.fallback:
            self.fallback, self.plan_hash = fallback, ""

    def weigh(self) -> None:
        """Find every way with its cost."""
        path, plan, trouble = self.path, self.plan, self.trouble
        if path is None or self.is_busy:
            return
        chosen = self._shell.preferences.backup_folder(path)
        this = self._round
        self._is_starting = True
        answer = self._shell.run(lambda: (_backup_offer(path, chosen), _offers_task(path)), self)
        answer.done(lambda found: self._weigh(found, plan, trouble) if this == self._round else None)
        answer.failed(self._tell_trouble(self.tr("look for other ways"), this))

    def rehearse(self) -> None:
        """Carry everything out beside the database, and drop it."""
        self._with_manager(
            lambda manager: self._carry_out(manager.rehearse_task(), self._has_rehearsed, is_rehearsal=True)
        )

    def recover(self, *, stop_before_install: bool = False) -> None:
        """Carry everything out, as it was rehearsed where it was."""

        def go(manager: RecoveryManager) -> None:
            if stop_before_install:
                task = manager.prepare_task(plan_hash=self.plan_hash)
                self._carry_out(task, self.prepared.emit)
            else:
                task = manager.run_task(plan_hash=self.plan_hash)
                self._carry_out(task, lambda _report: self._take_database(manager))

        self._with_manager(go)

    def install(self) -> None:
        """Put what was prepared in place."""
        manager = self.manager
        if manager is not None and not self.is_busy:
            self._carry_out(manager.install_task(), lambda _report: self._take_database(manager))

    def roll_back(self) -> None:
        """Drop what was prepared."""
        manager = self.manager
        if manager is not None and not self.is_busy:
            self._is_starting = True
            answer = self._shell.run(manager.roll_back, self)
            answer.done(self._has_rolled_back)
            answer.failed(
                lambda error: self._has_failed(self._round, error, self.tr("roll the recovery back"))
            )

    def open_read_only(self) -> None:
        """Open what can be recovered from a copy, read-only."""
        path = self.path
        if path is not None:
            self._open(lambda: _read_only_task(path), self.tr("Open read-only"), self.tr("open it read-only"))

    def open_now(self) -> None:
        """Open it before it is recovered; that goes on in the background, and is not taken back."""
        path = self.path
        if path is not None:
            words = self.tr("Open; its recovery goes on in the background")
            self._open(lambda: _early_task(path), words, self.tr("open it before it is recovered"))

    def _open(self, make: Callable[[], Task[Any]], words: str, operation: str) -> None:
        self._run(make, lambda database: self.opened.emit(database, words), operation)

    def salvage(self, target: Path) -> None:
        """Put what can be read into a new database."""
        path = self.path
        if path is not None:
            self._run(
                lambda: _salvage_task(path, target), self.saved.emit, self.tr("salvage what is readable")
            )

    def roll_forward(self, target: Path) -> None:
        """Restore the newest backup into a new database, and apply the log that is kept."""
        path, source = self.path, self.roll_forward_from
        if path is not None and source is not None:
            self._run(
                lambda: _roll_forward_task(source, path, target),
                lambda done: self.restored.emit(*done),
                self.tr("restore the backup and roll forward"),
            )

    def when_free(self, told: Callable[[str | None], object]) -> None:
        """Ask who has the database open; `told` gets the words, None for nobody."""
        path = self.path
        if path is not None:
            this = self._round
            answer = self._shell.run(lambda: _holder(path), self)
            answer.done(lambda holder: told(holder) if this == self._round else None)
            answer.failed(self._tell_trouble(self.tr("look at the database"), this))

    # What comes of it

    def _make_manager(self, then: Callable[[RecoveryManager], object]) -> None:
        path, fallback, this = self.path, self.fallback, self._round

        def made(manager: RecoveryManager) -> None:
            if this == self._round:
                self.manager = manager
                self._is_starting = False
                then(manager)

        if path is not None:
            self._is_starting = True
            answer = self._shell.run(lambda: _manager(path, fallback), self)
            answer.done(made).failed(self._tell_trouble(self.tr("look at the database"), this))

    def _with_manager(self, then: Callable[[RecoveryManager], object]) -> None:
        """A manager reads the settings when it is made, and they may have been put right since."""
        if not self.is_busy and self.path is not None:
            self._make_manager(then)

    def _make_plan(self, manager: RecoveryManager) -> None:
        this = self._round
        job = self.job = self._shell.jobs.start(manager.plan_task(), self)
        job.answer.done(lambda plan: self._has_planned(this, plan))
        job.answer.failed(self._tell_trouble(self.tr("plan the recovery"), this))

    def _has_planned(self, this: int, plan: RecoveryPlan) -> None:
        if this == self._round:
            self.job, self.plan, self.trouble = None, plan, None
            self.planned.emit(plan)

    def _tell_trouble(self, operation: str, this: int) -> Callable[[BaseException], object]:
        def tell(error: BaseException) -> None:
            if this == self._round:
                self.job = None
                self._is_starting = False
                if not isinstance(error, Cancelled):
                    self.trouble = from_exception(error, operation)
                self.troubled.emit(error, operation)

        return tell

    def _weigh(
        self, found: tuple[BackupOffer | None, Task[Any]], plan: Any, trouble: HoldfastError | None
    ) -> None:
        backup, task = found
        self._is_starting = False
        self.roll_forward_from = None if backup is None else backup.source
        this = self._round
        job = self.job = self._shell.jobs.start(task, self)

        def done(offers: Any) -> None:
            if this == self._round:
                self.job = None
                self.offered.emit(choices(plan, trouble, offers, backup=backup, failed=self._failed))

        job.answer.done(done)
        job.answer.failed(lambda error: self._has_failed(this, error, self.tr("look for other ways")))

    def _run(self, make: Callable[[], Task[Any]], done: Callable[[Any], object], operation: str) -> None:
        this = self._round

        def start(task: Task[Any]) -> None:
            if this == self._round:
                self._is_starting = False
                job = self.job = self._shell.jobs.start(task, self)
                self.followed.emit(job)
                self._hear(job, done, operation)

        if not self.is_busy:
            self._is_starting = True
            answer = self._shell.run(make, self)
            answer.done(start).failed(lambda error: self._has_failed(this, error, operation))

    def _carry_out(
        self, task: Task[Any], done: Callable[[Any], object], *, is_rehearsal: bool = False
    ) -> None:
        job = self.job = self._shell.jobs.start(task, self)
        self.began.emit(job, is_rehearsal)
        job.progressed.connect(self.progressed)
        way = ChoiceKind.LAST_VALID if self.fallback else ChoiceKind.RECOVER
        operation = self.tr("rehearse the recovery") if is_rehearsal else self.tr("recover the database")
        self._hear(job, done, operation, way)

    def _hear(
        self, job: Job, done: Callable[[Any], object], operation: str, way: ChoiceKind | None = None
    ) -> None:
        this = self._round

        def ended(result: Any) -> None:
            if this == self._round:
                self.job = None
                done(result)

        def failed(error: BaseException) -> None:
            if this == self._round and way is not None and isinstance(error, HoldfastError):
                self._failed[way] = error
            self._has_failed(this, error, operation)

        job.answer.done(ended).failed(failed)

    def _has_rehearsed(self, report: RecoveryReport) -> None:
        self.plan_hash, self.trouble = report.plan_hash, None
        self.rehearsed.emit(report)

    def _has_rolled_back(self, report: RecoveryReport) -> None:
        self._is_starting = False
        self.rolled_back.emit(report)

    def _take_database(self, manager: RecoveryManager) -> None:
        answer = self._shell.run(lambda: _take(manager), self)
        answer.done(self.recovered.emit)
        answer.failed(
            lambda error: self._has_failed(self._round, error, self.tr("open the recovered database"))
        )

    def _has_failed(self, this: int, error: BaseException, operation: str) -> None:
        if this != self._round:
            return
        self.job = None
        self._is_starting = False
        coded = from_exception(error, operation)
        if not isinstance(coded, Cancelled):
            self.trouble = coded
            # What was agreed on is void: another attempt is rehearsed or planned anew.
            self.plan_hash = ""
        self.failed.emit(error, operation)


# Imported in each: the kernel is loaded on the worker.


def _manager(path: Path, fallback: str) -> RecoveryManager:
    from engine.recovery.manager import RecoveryManager

    return RecoveryManager(path, fallback=fallback)


def _take(manager: RecoveryManager) -> Any:
    from engine.database import Database

    return Database.recovered(manager)


def _offers_task(path: Path) -> Task[Any]:
    from engine.ways_out import offers_task

    return offers_task(path)


def _backup_offer(database: Path, chosen: Path) -> BackupOffer | None:
    from engine.backups.point import AT_END, preview_task
    from engine.ways_out import source_of

    info = newest_backup(database, chosen)
    if info is None:
        return None
    source = source_of(info)
    try:
        reached = preview_task(source, AT_END, [database]).run()
    except BackupLocked:
        flag = "--passphrase" if info.encryption == "passphrase" else "--key-file FILE"
        why = (
            "It is encrypted: only with its key can the log that is kept be applied to it. This command "
            f'does: holdfast restore "{source}" NEW --to-end --log "{database}" {flag}'
        )
        return BackupOffer(info.taken_at, why_alone=why)
    except HoldfastError as error:
        # The kept log does not join the backup: the backup alone can still be restored.
        return BackupOffer(info.taken_at, why_alone=f"No log is applied to it: {error.message}")
    return BackupOffer(info.taken_at, source, reached.commits, reached.committed_at)


def _roll_forward_task(source: Path, database: Path, target: Path) -> Task[Any]:
    from engine.backups.point import AT_END, restore_point_task

    return restore_point_task(source, target, AT_END, [database])


def newest_backup(database: Path, chosen: Path) -> Any | None:
    """The `BackupInfo` of the newest backup, where the settings of the database, its memory or the person
    (`chosen`) had some put; None where there is none. For a worker."""
    from engine.ways_out import known_folders, newest_backup

    return newest_backup(database, known_folders(database, chosen))


def folder_of_backups(database: Path, chosen: Path) -> Path:
    """Where backups of it go: as its settings say, else as the person has `chosen`. For a worker."""
    from engine.ways_out import folder_of_backups

    return folder_of_backups(database, chosen)


def _read_only_task(path: Path) -> Task[Any]:
    from engine.opening import open_read_only_task

    return open_read_only_task(path)


def _early_task(path: Path) -> Task[Any]:
    from engine.opening import open_early_task

    return open_early_task(path)


def _salvage_task(path: Path, target: Path) -> Task[Any]:
    from engine.recovery.fallbacks import salvage_task

    return salvage_task(path, target)


def _holder(path: Path) -> str | None:
    from engine.opening import inspect

    return inspect(path).holder
