"""What is said of mirrors."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QCoreApplication

from engine.errors import DiskFull
from engine.types import MirrorInfo, MirrorOutlook, MirrorPhase
from gui.theme import Tone
from gui.widgets import formats


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("mirrors", text)


def state_word(info: MirrorInfo) -> str:
    """What a mirror is doing, in a word or two."""
    if info.phase is MirrorPhase.COPYING:
        share = 100 * info.copied / info.to_copy if info.to_copy else 0.0
        return tr("being copied, {share:.0f} %").format(share=share)
    if info.phase is MirrorPhase.FOLLOWING:
        if not info.lag_bytes:
            return tr("has everything")
        return tr("follows")
    return {
        MirrorPhase.CONNECTING: tr("looking for it"),
        MirrorPhase.LOST: tr("lost"),
        MirrorPhase.REFUSED: tr("of another history"),
    }[info.phase]


def state_tone(info: MirrorInfo) -> Tone:
    """Good is only what has everything, or is about to."""
    if info.phase in (MirrorPhase.LOST, MirrorPhase.REFUSED):
        return Tone.BAD
    if info.phase is not MirrorPhase.FOLLOWING or info.lag_s > 60:
        return Tone.WARN
    return Tone.GOOD


def reason_words(info: MirrorInfo) -> str:
    """Why it does not follow, and what brings it back; empty where it follows."""
    if info.phase is not MirrorPhase.LOST or not info.error:
        return info.error
    if info.error_code == DiskFull.code:
        return tr("{reason} It goes on by itself once there is room on its disk.").format(reason=info.error)
    return tr("{reason} It goes on by itself when it is there again.").format(reason=info.error)


def kind_word(info: MirrorInfo) -> str:
    """What a commit does about it."""
    if not info.synchronous:
        return tr("asynchronous")
    return tr("synchronous") if info.in_step else tr("synchronous, not waited for")


def lag_word(info: MirrorInfo) -> str:
    """How much it lacks."""
    if not info.shipped_lsn:
        return "–"
    return formats.size(info.lag_bytes) if info.lag_bytes else tr("nothing")


def since_word(info: MirrorInfo) -> str:
    """Since when it lacks something."""
    return formats.duration(info.lag_s) if info.lag_s >= 0.1 else "–"


def loss_words(seen: MirrorOutlook) -> str:
    """What a fail over would lose, first of all."""
    if seen.lost_bytes is None:
        lost = tr(
            "What it lacks cannot be told, for the database cannot be read: commits after its last are lost."
        )
    elif seen.lost_bytes:
        commits = seen.lost_commits or 0
        words = (
            tr("It lacks one commit, {size} of log: it would be lost.")
            if commits == 1
            else tr("It lacks {commits} commits, {size} of log: they would be lost.")
        )
        lost = words.format(commits=formats.count(commits), size=formats.size(seen.lost_bytes))
    else:
        lost = tr("It has everything: nothing is lost.")
    if seen.last_commit_at:
        moment = datetime.fromtimestamp(seen.last_commit_at)
        lost += " " + tr("Its last commit is of {moment}; it ends at LSN {lsn}.").format(
            moment=f"{moment:%Y-%m-%d %H:%M:%S}", lsn=seen.end_lsn
        )
    if seen.broken:
        lost += " " + tr("The end of its log is damaged.")
    return lost
