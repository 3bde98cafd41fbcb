"""What a run is made of, and how every peer is set for it."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The size of the work. All counts follow from the number of rows."""

    rows: int = 1_000_000
    rounds: int = 3
    key_bytes: int = 24
    value_bytes: int = 150
    cache_bytes: int = 512 * MIB
    """Holds all rows of an ordinary run, so that the work on pages is compared, not the disk."""
    threads: int = 16
    seed: int = 1

    @property
    def operations(self) -> int:
        """Point operations of one thread."""
        return max(self.rows // 5, 1)

    @property
    def ranges(self) -> int:
        """Short ranges of one thread."""
        return max(self.rows // 50, 1)

    @property
    def commits(self) -> int:
        """Durable commits of one thread; sixteen threads make eight times as many."""
        return max(self.rows // 500, 1)

    @property
    def batches(self) -> int:
        """Durable batches of 1,000 rows (of all rows, where there are fewer)."""
        return max(self.rows // 10_000, 1)

    @property
    def batch_rows(self) -> int:
        return min(1000, self.rows)

    @property
    def operations_per_thread(self) -> int:
        """62,500 in a run of a million rows: a million operations of sixteen threads."""
        return max(self.rows // self.threads, 1)

    @property
    def small_cache_bytes(self) -> int:
        """An eighth of the bytes of all rows: most pages have to be fetched."""
        return max(self.rows * (self.key_bytes + self.value_bytes) // 8, 2 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a peer opens its database for one measurement."""

    cache_bytes: int
    durable: bool = False
    """Every commit is synced; else none is."""
    keeps_log: bool = False
    """No checkpoint while it is open: all log is left for recovery."""
    checkpoints_off: bool = False
    checkpoint_log_bytes: int = 0
    """Log after which a checkpoint is made; 0 for the peer's default."""


EVERY_PEER = (
    "one database, one ordered tree, keys of {key_bytes} bytes and values of {value_bytes}",
    "cache {cache} MiB, where the peer has one of its own (the data is about {data} MiB)",
    "durable: a commit has returned from a sync of the log; else: no commit is synced",
    "no compression, no encryption; the checksums that each peer has by default",
    "the garbage collector of Python is off while a clock runs; the peers take turns",
)


def stated(settings: Settings) -> list[str]:
    """The settings that hold for every peer, as lines to print."""
    figures = {
        "key_bytes": settings.key_bytes,
        "value_bytes": settings.value_bytes,
        "cache": settings.cache_bytes // MIB,
        "data": settings.rows * (settings.key_bytes + settings.value_bytes) // MIB,
    }
    return [line.format(**figures) for line in EVERY_PEER]
