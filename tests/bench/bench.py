"""One run: its settings, its data, and a loaded database of each peer to work on."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.data import Data, Pair
from tests.bench.files import copy
from tests.bench.peers.base import Peer
from tests.bench.settings import Opening, Settings


class WrongAnswer(AssertionError):
    """A peer's rows are not those that were put."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one workload came to on one peer, in one round."""

    value: float
    """In the workload's unit."""
    extras: Mapping[str, float] = field(default_factory=dict)
    """Further figures; the unit is part of the name."""
    facts: Mapping[str, int] = field(default_factory=dict)
    """Counts that every peer must agree on."""


class Bench:
    """What the workloads of a run share."""

    def __init__(self, settings: Settings, directory: Path, *, verifies: bool = False) -> None:
        self.settings = settings
        self.directory = directory
        self.data = Data(settings)
        self.verifies = verifies
        """Read all rows back after work that changes some."""
        self._bases: dict[str, Path] = {}
        self._numbers = itertools.count()

    def opening(self, *, durable: bool = False) -> Opening:
        """The usual way to open: the cache holds all rows."""
        return Opening(cache_bytes=self.settings.cache_bytes, durable=durable)

    def base(self, kind: type[Peer]) -> Path:
        """A closed database with every row, loaded once, to be read or copied only."""
        if kind.name not in self._bases:
            place = self.directory / f"base-{kind.__module__.rpartition('.')[2]}.holdfast"
            peer = kind(place, self.opening())
            peer.load(self.data.pairs, is_sorted=False)
            peer.close()
            self._bases[kind.name] = place
        return self._bases[kind.name]

    @contextmanager
    def place(self) -> Iterator[Path]:
        """A name for a directory of one measurement, which goes afterwards."""
        place = self.directory / f"work-{next(self._numbers)}"
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place)

    @contextmanager
    def opened(self, kind: type[Peer], opening: Opening | None = None) -> Iterator[Peer]:
        """The loaded database, warm, for work that changes nothing."""
        peer = kind(self.base(kind), opening or self.opening())
        try:
            peer.scan()
            yield peer
        finally:
            peer.close()

    @contextmanager
    def copied(self, kind: type[Peer], opening: Opening | None = None) -> Iterator[Peer]:
        """A copy of the loaded database, warm, for work that changes it."""
        with self.place() as place:
            peer = kind(copy(self.base(kind), place / "copy.holdfast"), opening or self.opening())
            try:
                peer.scan()
                yield peer
            finally:
                peer.close()

    def verify(self, peer: Peer, expected: Mapping[bytes, bytes] | None = None) -> None:
        """Compare all rows with the expected ones, where the run verifies.

        Without them: each key once, in order, with a value that was made for it.
        """
        if not self.verifies:
            return
        rows = peer.rows()
        if expected is not None:
            self._expect(peer, rows == sorted(expected.items()))
        self._expect(peer, all(one[0] < other[0] for one, other in itertools.pairwise(rows)))
        self._expect(peer, all(self._belongs(row) for row in rows))

    def _belongs(self, row: Pair) -> bool:
        number, version = int(row[1][:12]), int(row[1][13:19])
        return row == (self.data.key(number), self.data.value(number, version))

    def _expect(self, peer: Peer, holds: bool) -> None:
        if not holds:
            raise WrongAnswer(f"{peer.name} has other rows than were put")
