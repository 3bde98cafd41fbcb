"""The wait-for graph, drawn: who waits stands to the left of whom it waits for."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QKeyEvent, QPainter, QPainterPath, QPen, QPolygonF, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGraphicsItem,
    QGraphicsScene,
    QGraphicsSceneMouseEvent,
    QGraphicsView,
    QStyleOptionGraphicsItem,
    QWidget,
)

from gui.activity.layout import Edge, GraphPicture, Node
from gui.theme import Size, Space, Tone, colors, tone_color
from gui.widgets import formats

NODE_WIDTH = 128.0
NODE_HEIGHT = 52.0
ARROW = 8.0


class GraphView(QGraphicsView):
    """Shows one `GraphPicture`; a click or the arrow keys choose a transaction."""

    transaction_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._picture = GraphPicture()
        self._nodes: dict[int, _NodeItem] = {}
        self._chosen: int | None = None
        self.setScene(QGraphicsScene(self))
        self.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setDragMode(QGraphicsView.DragMode.ScrollHandDrag)
        self.setMinimumHeight(220)
        self.setAccessibleName(self.tr("Who waits for whom"))

    @property
    def chosen(self) -> int | None:
        """The chosen transaction, while it is in the picture."""
        return self._chosen

    def show_picture(self, picture: GraphPicture) -> None:
        """Draw another picture; the choice is kept while its transaction is in it."""
        same_shape = _shape(picture) == _shape(self._picture)
        self._picture = picture
        self.setAccessibleDescription(self._in_words(picture))
        scene = self.scene()
        scene.clear()
        self._nodes = {
            node.txn: _NodeItem(node, node.txn == picture.suggested, self, picture.is_past)
            for node in picture.nodes
        }
        for edge in picture.edges:
            scene.addItem(_EdgeItem(edge, self._nodes[edge.waiter].node, self._nodes[edge.holder].node))
        for item in self._nodes.values():
            scene.addItem(item)
        if self._chosen not in self._nodes:
            self._chosen = None
        else:
            self._nodes[self._chosen].setSelected(True)
        if not same_shape:
            self.fit()

    def choose(self, txn: int) -> None:
        """Choose a transaction of the picture and say so."""
        if txn not in self._nodes:
            return
        self.scene().clearSelection()
        self._nodes[txn].setSelected(True)
        self._chosen = txn
        self.ensureVisible(self._nodes[txn], 24, 24)
        self.transaction_chosen.emit(txn)

    def fit(self) -> None:
        """Show the whole picture, never larger than life."""
        bounds = self.scene().itemsBoundingRect().adjusted(-Space.XL, -Space.XL, Space.XL, Space.XL)
        self.setSceneRect(bounds)
        self.resetTransform()
        view = self.viewport().rect()
        if bounds.width() > 0 and bounds.height() > 0:
            scale = min(1.0, view.width() / bounds.width(), view.height() / bounds.height())
            self.scale(max(scale, 0.35), max(scale, 0.35))
        self.centerOn(bounds.center())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        directions = {
            Qt.Key.Key_Left: QPointF(-1, 0),
            Qt.Key.Key_Right: QPointF(1, 0),
            Qt.Key.Key_Up: QPointF(0, -1),
            Qt.Key.Key_Down: QPointF(0, 1),
        }
        direction = directions.get(Qt.Key(event.key()))
        if direction is None or not self._nodes:
            super().keyPressEvent(event)
            return
        self.choose(self._neighbour(direction))

    def _neighbour(self, direction: QPointF) -> int:
        """The nearest node that way; the first one where none is chosen yet."""
        if self._chosen is None:
            return self._picture.nodes[0].txn
        here = self._nodes[self._chosen].pos()
        best, distance = self._chosen, math.inf
        for txn, item in self._nodes.items():
            way = item.pos() - here
            ahead = QPointF.dotProduct(way, direction)
            aside = abs(way.x() * direction.y() - way.y() * direction.x())
            if ahead > 1 and ahead + 2 * aside < distance:
                best, distance = txn, ahead + 2 * aside
        return best

    def _in_words(self, picture: GraphPicture) -> str:
        waits = [
            self.tr("Transaction {waiter} waits for transaction {holder} for {resource}").format(
                waiter=edge.waiter, holder=edge.holder, resource=edge.resource
            )
            for edge in picture.edges[:20]
        ]
        return "; ".join(waits) if waits else self.tr("No transaction waits for another.")


def _shape(picture: GraphPicture) -> tuple[tuple[int, float, float], ...]:
    return tuple((node.txn, node.x, node.y) for node in picture.nodes)


class _NodeItem(QGraphicsItem):
    """One transaction: its number, what it has done, how long it has been at it."""

    def __init__(self, node: Node, is_suggested: bool, view: GraphView, is_past: bool) -> None:
        super().__init__()
        self._is_past = is_past
        self.node = node
        self._is_suggested = is_suggested
        self._view = view
        self.setPos(node.x, node.y)
        self.setZValue(1)
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemIsSelectable)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(
            ""
            if is_past
            else view.tr(
                "Transaction {txn}: {changes} changes, {undo} bytes to undo; {blocks} wait for it"
            ).format(txn=node.txn, changes=node.changes, undo=f"{node.undo_bytes:,}", blocks=node.blocks)
        )

    def boundingRect(self) -> QRectF:
        # Room above for the word over the suggested one.
        return QRectF(-NODE_WIDTH / 2, -NODE_HEIGHT / 2, NODE_WIDTH, NODE_HEIGHT).adjusted(-4, -22, 4, 4)

    def mousePressEvent(self, event: QGraphicsSceneMouseEvent) -> None:
        event.accept()
        self._view.choose(self.node.txn)

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        now = colors()
        tone = self._tone()
        box = QRectF(-NODE_WIDTH / 2, -NODE_HEIGHT / 2, NODE_WIDTH, NODE_HEIGHT)
        if self.isSelected():
            painter.setPen(QPen(QColor(now.accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box.adjusted(-3, -3, 3, 3), Space.RADIUS + 2, Space.RADIUS + 2)
        edge = tone_color(tone) if tone is not Tone.NEUTRAL else QColor(now.border_strong)
        painter.setPen(QPen(edge, 1.4))
        painter.setBrush(tone_color(tone, soft=True) if tone is not Tone.NEUTRAL else QColor(now.raised))
        painter.drawRoundedRect(box, Space.RADIUS, Space.RADIUS)
        self._write(painter, box, tone)

    def _tone(self) -> Tone:
        if self.node.in_cycle:
            return Tone.BAD
        return Tone.NEUTRAL if self.node.waits else Tone.WARN

    def _write(self, painter: QPainter, box: QRectF, tone: Tone) -> None:
        now = colors()
        font = QFont(painter.font())
        font.setPixelSize(Size.BODY)
        font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(font)
        painter.setPen(tone_color(tone) if tone is not Tone.NEUTRAL else QColor(now.text))
        top = QRectF(box.left() + 10, box.top() + 7, box.width() - 20, 18)
        painter.drawText(top, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, f"T{self.node.txn}")
        if self._is_suggested:
            font.setPixelSize(Size.CAPTION)
            painter.setFont(font)
            above = QRectF(box.left(), box.top() - 19, box.width(), 16)
            painter.drawText(
                above,
                Qt.AlignmentFlag.AlignCenter,
                self._view.tr("rolled back") if self._is_past else self._view.tr("suggested"),
            )
        font.setPixelSize(Size.CAPTION)
        font.setWeight(QFont.Weight.Normal)
        painter.setFont(font)
        painter.setPen(QColor(now.text_muted))
        if self._is_past:
            line = self._view.tr("gave way") if self._is_suggested else self._view.tr("could go on")
        else:
            line = self._view.tr("{changes} changes · {age}").format(
                changes=f"{self.node.changes:,}", age=formats.duration(self.node.age_s)
            )
        painter.drawText(
            QRectF(box.left() + 10, box.top() + 26, box.width() - 20, 18),
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter,
            line,
        )


class _EdgeItem(QGraphicsItem):
    """One wait, drawn from the waiter to the holder and labelled with what is waited for."""

    def __init__(self, edge: Edge, waiter: Node, holder: Node) -> None:
        super().__init__()
        self._edge = edge
        start, end = _ends(waiter, holder)
        self._path = QPainterPath(start)
        bend = _bend(start, end, edge.in_cycle)
        self._path.quadTo(bend, end)
        self._middle = self._path.pointAtPercent(0.5 if edge.in_cycle else 0.4)
        self._head = _arrow_head(bend, end)
        since = f" · {formats.duration(edge.since_s)}" if edge.since_s > 0 else ""
        self.setToolTip(f"{edge.resource} · {edge.mode}{since}")

    def boundingRect(self) -> QRectF:
        return self._path.boundingRect().adjusted(-80, -16, 80, 16)

    def shape(self) -> QPainterPath:
        return self._path

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        now = colors()
        color = tone_color(Tone.BAD) if self._edge.in_cycle else QColor(now.text_faint)
        painter.setPen(QPen(color, 2.0 if self._edge.in_cycle else 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(self._path)
        painter.setBrush(color)
        painter.drawPolygon(self._head)
        font = QFont(painter.font())
        font.setPixelSize(Size.CAPTION)
        painter.setFont(font)
        metrics = painter.fontMetrics()
        text = metrics.elidedText(self._edge.resource, Qt.TextElideMode.ElideMiddle, 130)
        box = QRectF(metrics.boundingRect(text))
        box.moveCenter(self._middle)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(now.surface))
        painter.drawRoundedRect(box.adjusted(-5, -2, 5, 2), 4, 4)
        painter.setPen(QColor(now.text_muted))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def _ends(waiter: Node, holder: Node) -> tuple[QPointF, QPointF]:
    """Where an edge leaves one box and meets the other."""
    a, b = QPointF(waiter.x, waiter.y), QPointF(holder.x, holder.y)
    return _border(a, b, 3), _border(b, a, 5)


def _border(inside: QPointF, toward: QPointF, gap: float) -> QPointF:
    way = toward - inside
    half_width, half_height = NODE_WIDTH / 2 + gap, NODE_HEIGHT / 2 + gap
    scale = min(
        half_width / abs(way.x()) if way.x() else math.inf,
        half_height / abs(way.y()) if way.y() else math.inf,
    )
    return inside + way * (scale if math.isfinite(scale) else 0.0)


def _bend(start: QPointF, end: QPointF, in_cycle: bool) -> QPointF:
    """The control point of the curve: a cycle bulges, so that both ways can be told apart."""
    middle = (start + end) / 2
    way = end - start
    length = math.hypot(way.x(), way.y()) or 1.0
    bulge = 46.0 if in_cycle else 0.0
    return middle + QPointF(way.y() / length, -way.x() / length) * bulge


def _arrow_head(source: QPointF, tip: QPointF) -> QPolygonF:
    angle = math.atan2(tip.y() - source.y(), tip.x() - source.x())
    points = [tip]
    for side in (math.pi - 0.45, math.pi + 0.45):
        points.append(tip + QPointF(math.cos(angle + side), math.sin(angle + side)) * ARROW)
    return QPolygonF(points)
