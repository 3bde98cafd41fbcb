"""Keys, values and the orders in which they are asked for: the same for every peer."""

from __future__ import annotations

import random
from functools import cached_property

import numpy as np

from tests.bench.settings import Settings

Pair = tuple[bytes, bytes]
Operation = tuple[bytes, bytes | None]
"""A key, and the value to put; `None` gets it."""

_POOL_BYTES = 1 << 16
_ZIPF_EXPONENT = 0.99


def key_of(number: int) -> bytes:
    """24 bytes, scattered over the tree (splitmix64, Steele et al. 2014)."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return b"user%020d" % (mixed ^ (mixed >> 31))


class Data:
    """The rows of a run, and draws from them. Everything follows from the seed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._pool = random.Random(settings.seed).randbytes(_POOL_BYTES)
        self.keys = [key_of(number) for number in range(settings.rows)]

    def key(self, number: int) -> bytes:
        """The key of a row, which may be one that is still to be inserted."""
        return self.keys[number] if number < len(self.keys) else key_of(number)

    def value(self, number: int, version: int = 0) -> bytes:
        """The value of a row: its number and version, then bytes that do not compress."""
        head = b"%012d.%06d." % (number, version)
        start = (number * 7919 + version * 104729) % (_POOL_BYTES - self.settings.value_bytes)
        return (head + self._pool[start : start + self.settings.value_bytes])[: self.settings.value_bytes]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every row, in an order that has nothing to do with the keys'."""
        return [(key, self.value(number)) for number, key in enumerate(self.keys)]

    @cached_property
    def sorted_pairs(self) -> list[Pair]:
        return sorted(self.pairs)

    def draws(self, count: int, salt: int) -> list[int]:
        """Numbers of rows, all equally likely."""
        generator = np.random.default_rng((self.settings.seed, salt))
        drawn: list[int] = generator.integers(0, self.settings.rows, count).tolist()
        return drawn

    @cached_property
    def _zipf_sums(self) -> np.ndarray:
        weights = 1.0 / np.arange(1, self.settings.rows + 1) ** _ZIPF_EXPONENT
        sums = np.cumsum(weights)
        return np.asarray(sums / sums[-1])

    def zipf_ranks(self, count: int, salt: int) -> np.ndarray:
        """Ranks from 0, the lower the likelier (exponent 0.99, as YCSB has it)."""
        generator = np.random.default_rng((self.settings.seed, salt))
        ranks = np.searchsorted(self._zipf_sums, generator.random(count))
        return np.minimum(ranks, self.settings.rows - 1)

    def zipf_draws(self, count: int, salt: int) -> list[int]:
        """Numbers of rows, few of them drawn often. Neighbours in rank are none in the tree."""
        # The keys are scattered already, so that a rank may serve as the number.
        drawn: list[int] = self.zipf_ranks(count, salt).tolist()
        return drawn

    def mixed(self, count: int, salt: int, read_share: float = 0.5) -> list[Operation]:
        """Gets and puts of rows drawn by Zipf's law."""
        coins = np.random.default_rng((self.settings.seed, salt, 1)).random(count) < read_share
        numbers = self.zipf_draws(count, salt)
        return [
            (self.keys[number], None if reads else self.value(number, salt + 1))
            for number, reads in zip(numbers, coins.tolist(), strict=True)
        ]
