"""A dialog that is as high as what it shows."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QDialog, QWidget


class FittedDialog(QDialog):
    """Grows where something more is shown in it, and shrinks again where nobody has chosen its height.

    Qt asks wrapped words how high they are at their widest only, and would cut off what stands below them.
    """

    def __init__(self, width: int, least_height: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._least_height = self._fitted = least_height
        self.resize(width, least_height)

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self.fit_height()
        return done

    def let_shrink(self) -> None:
        """Much of what was shown has gone: be no higher than the rest needs, whatever the height was."""
        self._fitted = self.height()

    def fit_height(self) -> None:
        """Be as high as what is shown needs at this width; a height that somebody chose is only added to."""
        layout = self.layout()
        if layout is None:
            return
        has_wrapped = layout.hasHeightForWidth()
        high = layout.totalHeightForWidth(self.width()) if has_wrapped else layout.totalSizeHint().height()
        needed = max(high, self._least_height)
        needed = min(needed, self.screen().availableSize().height())
        if needed > self.height() or self.height() == self._fitted:
            self._fitted = needed
            self.resize(self.width(), needed)
