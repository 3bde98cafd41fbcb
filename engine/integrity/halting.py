"""The stop of all changes at damage that could not be repaired, where `corruption_action` says `halt`.

A read that meets such damage stops them in the engine at once; what a check or the background check
finds stops them here. They are taken again once each finding that stopped them was repaired or closed.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from engine import bridge
from engine.errors import HoldfastError
from engine.integrity.findings import Finding, Priority

if TYPE_CHECKING:
    from engine.database import Database


class Halting:
    """Who stopped the changes of one database. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._blocking: set[int] = set()

    @property
    def is_wanted(self) -> bool:
        """Whether the settings say that damage stops all changes."""
        return self._database.config.corruption_action == "halt"

    def halt(self, findings: Iterable[Finding]) -> None:
        """Stop all changes because of these; does nothing for lost room, or where it is not wanted."""
        grave = [finding for finding in findings if finding.priority is not Priority.P3]
        if not grave or not self.is_wanted:
            return
        with self._lock:
            self._blocking |= {finding.id for finding in grave}
            page = grave[0].page
            self._database.store.halt_writes(page, None if page is not None else grave[0].where)
        self._database.events.publish("writes_halted", where=grave[0].where)

    def halt_for_what_stays(self, findings: Collection[Finding]) -> None:
        """Stop all changes because of those of the findings that nothing near could repair."""
        if self.is_wanted and findings:
            curable = _curable(self._database.store, findings)
            self.halt([finding for finding in findings if finding.page not in curable])

    def settle(self, open_ids: Collection[int]) -> None:
        """Take changes again where none of the findings that stopped them is open any more."""
        if not self.is_wanted:
            return
        with self._lock:
            self._blocking &= set(open_ids)
            store = self._database.store
            if self._blocking or not store.status()["halted"]:
                return
            store.allow_writes()
        self._database.events.publish("writes_resumed")


def _curable(store: bridge.Store, findings: Iterable[Finding]) -> set[int | None]:
    """The pages that the engine could rebuild by itself when they are read."""
    pages = [finding.page for finding in findings if finding.page is not None]
    try:
        return {int(remedy["page"]) for remedy in store.plan_repair(pages)["remedies"]} if pages else set()
    except HoldfastError:
        # Where that cannot be told, nothing is promised.
        return set()
