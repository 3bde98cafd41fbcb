"""A workload of which all is known: what each transaction writes, and what must be there after a crash.

Every thread numbers its transactions and works in trees of its own, so that what it has committed is a
beginning of one sequence. Transaction `n` adds a few records, deletes the first one of transaction
`n - BACK`, moves one coin between two accounts, and notes its number. What a database must hold then
follows from one number per thread; the model needs no memory, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.bridge import Transaction, Tree
from engine.database import Database

ACCOUNTS = 50
COINS = 1000
"""In each account at first."""
BACK = 20
LEDGER, UNFINISHED = "ledger", "unfinished"
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """How large each transaction is."""

    threads: int = 1
    records: int = 20
    value_bytes: int = 1000


@dataclass(slots=True)
class Verdict:
    """What a database that was looked at holds, against what it must."""

    inconsistent: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Transactions that are there in part, and traces of those that never ended."""
    lost: list[str] = field(default_factory=list)
    """Acknowledged commits that are not there."""
    commits: int = 0
    """That are there."""
    records: int = 0

    @property
    def problems(self) -> list[str]:
        return [*self.inconsistent, *self.torn, *self.lost][:_MOST_TOLD]


def work_tree(thread: int) -> str:
    return f"work-{thread}"


def accounts_tree(thread: int) -> str:
    return f"accounts-{thread}"


def prepare(txn: Transaction, shape: Shape) -> None:
    """Make the trees, and fill the accounts."""
    txn.tree(LEDGER)
    for thread in range(shape.threads):
        txn.tree(work_tree(thread))
        accounts = txn.tree(accounts_tree(thread))
        for account in range(ACCOUNTS):
            accounts[b"%04d" % account] = b"%d" % COINS


def carry_out(txn: Transaction, thread: int, number: int, shape: Shape) -> None:
    """Transaction `number` of a thread, up to its commit."""
    work, accounts = txn.tree(work_tree(thread)), txn.tree(accounts_tree(thread))
    for part in range(shape.records):
        work[_key(number, part)] = _value(number, part, shape)
    if number >= BACK:
        del work[_key(number - BACK, 0)]
    giver, taker = _move(number)
    accounts[giver] = b"%d" % (int(accounts[giver]) - 1)
    accounts[taker] = b"%d" % (int(accounts[taker]) + 1)
    txn.tree(LEDGER)[b"%04d" % thread] = b"%d" % number


def _key(number: int, part: int) -> bytes:
    return b"%08d-%04d" % (number, part)


def _value(number: int, part: int, shape: Shape) -> bytes:
    head = b"%d.%d." % (number, part)
    return head + b"x" * (shape.value_bytes - len(head))


def _move(number: int) -> tuple[bytes, bytes]:
    giver = number * 7919 % ACCOUNTS
    return b"%04d" % giver, b"%04d" % ((giver + 1 + number % (ACCOUNTS - 1)) % ACCOUNTS)


def verify(
    database: Database, shape: Shape, acknowledged: Mapping[int, int], *, may_lack: bool = False
) -> Verdict:
    """Hold a database against the number of commits acknowledged to each thread.

    One commit more may be there for each thread: it was durable, and its answer was cut off. With
    `may_lack`, commits may be missing at the end, as where a damaged log was cut; `lost` then stays empty
    and `commits` tells.
    """
    verdict = Verdict()
    verdict.inconsistent += [f"check: {problem.detail}" for problem in database.check().problems]
    with database.transaction(read_only=True) as txn:
        if UNFINISHED in database.trees() and len(txn.tree(UNFINISHED)):
            verdict.torn.append(f"{len(txn.tree(UNFINISHED))} records of transactions that never ended")
        ledger = txn.tree(LEDGER)
        for thread in range(shape.threads):
            _verify_thread(txn, ledger, thread, acknowledged.get(thread, 0), shape, verdict, may_lack)
    return verdict


def _verify_thread(
    txn: Transaction,
    ledger: Tree,
    thread: int,
    acknowledged: int,
    shape: Shape,
    verdict: Verdict,
    may_lack: bool,
) -> None:
    noted = ledger.get(b"%04d" % thread)
    commits = 0 if noted is None else int(noted) + 1
    verdict.commits += commits
    who = f"thread {thread}"
    if commits > acknowledged + 1:
        verdict.torn.append(f"{who}: {commits} commits, and only {acknowledged} were ever made and answered")
    if commits < acknowledged and not may_lack:
        verdict.lost.append(f"{who}: {acknowledged} commits were acknowledged, {commits} are there")
    work = txn.tree(work_tree(thread))
    verdict.torn += [f"{who}: {wrong}" for wrong in _differences(work.items(), commits, shape, verdict)]
    held = dict(txn.tree(accounts_tree(thread)).items())
    if sum(map(int, held.values())) != ACCOUNTS * COINS:
        verdict.inconsistent.append(f"{who}: coins were made or lost")
    if held != {key: b"%d" % coins for key, coins in _balances(commits).items()}:
        verdict.torn.append(f"{who}: the accounts are not those after {commits} transactions")


def _balances(commits: int) -> dict[bytes, int]:
    balances = {b"%04d" % account: COINS for account in range(ACCOUNTS)}
    for number in range(commits):
        giver, taker = _move(number)
        balances[giver] -= 1
        balances[taker] += 1
    return balances


def _differences(
    items: Iterable[tuple[bytes, bytes]], commits: int, shape: Shape, verdict: Verdict
) -> Iterator[str]:
    """Both sides are in the order of their keys, so that neither has to be held in memory."""
    told = 0
    found = iter(items)
    for number in range(commits):
        for part in range(number + BACK < commits, shape.records):
            item = next(found, None)
            verdict.records += 1
            if item != (_key(number, part), _value(number, part, shape)):
                instead = "nothing" if item is None else repr(item[0])
                yield f"at record {part} of transaction {number} there is {instead}"
                told += 1
                if told == 3:
                    return
    if (more := next(found, None)) is not None:
        yield f"{more[0]!r} is there, beyond the last commit"
