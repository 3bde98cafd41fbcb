"""From any error to its card. The words are the catalogue's; none are written here."""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine.errors import HoldfastError, from_exception
from gui.widgets.error_card import ErrorCard

log = logging.getLogger(__name__)


def error_card(
    error: BaseException, operation: str = "", can_do: Callable[[str], bool] | None = None
) -> ErrorCard:
    """The card of an error; one that has no code is logged with its trace and shown as ours."""
    if not isinstance(error, HoldfastError):
        log.error("an error without a code while trying to %s", operation or "work", exc_info=error)
    return ErrorCard(from_exception(error, operation).as_card(), can_do)
