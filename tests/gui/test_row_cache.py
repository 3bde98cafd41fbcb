"""Pages and anchors of a table, planned without reading any."""

from gui.models.row_cache import PAGE_ROWS, Fetched, Row, RowCache


def page_of(number: int, rows: int = PAGE_ROWS) -> tuple[Row, ...]:
    first = number * PAGE_ROWS
    return tuple(Row((first + n,), (first + n,)) for n in range(rows))


def test_the_first_page_is_read_without_an_anchor() -> None:
    plan = RowCache().plan(0)
    assert (plan.first, plan.start_page, plan.anchor, plan.backward) == (0, 0, None, False)


def test_a_page_behind_a_known_anchor_needs_no_walk() -> None:
    cache = RowCache()
    cache.store(Fetched(pages={0: page_of(0)}, anchors={1: (255,)}, total=10_000))
    plan = cache.plan(1)
    assert (plan.start_page, plan.anchor, plan.backward) == (1, (255,), False)


def test_the_end_is_reached_backward_from_the_end() -> None:
    cache = RowCache()
    total = 1000 * PAGE_ROWS + 17
    cache.store(Fetched(pages={0: page_of(0)}, anchors={1: (255,)}, total=total))
    plan = cache.plan(1000)
    assert plan.backward
    assert plan.anchor is None
    assert plan.rows_behind == 17


def test_a_page_just_before_a_known_anchor_is_reached_backward_from_it() -> None:
    cache = RowCache()
    cache.store(Fetched(anchors={1: (1,), 900: (900,)}, total=1000 * PAGE_ROWS))
    plan = cache.plan(898)
    assert plan.backward
    assert plan.anchor == (900,)
    assert plan.rows_behind == 2 * PAGE_ROWS - 1


def test_rows_are_found_by_number_and_missing_ones_are_none() -> None:
    cache = RowCache()
    cache.store(Fetched(pages={3: page_of(3)}, total=5000))
    row = cache.row(3 * PAGE_ROWS + 5)
    assert row is not None
    assert row.key == (3 * PAGE_ROWS + 5,)
    assert cache.row(0) is None


def test_pages_used_longest_ago_are_dropped_and_anchors_kept() -> None:
    cache = RowCache(kept_pages=4)
    for number in range(10):
        position = ((number + 1) * PAGE_ROWS - 1,)
        cache.store(Fetched(pages={number: page_of(number)}, anchors={number + 1: position}))
    assert [page for page in range(10) if cache.has_page(page)] == [6, 7, 8, 9]
    assert cache.plan(2).start_page == 2


def test_where_the_total_is_unknown_one_page_more_is_offered() -> None:
    cache = RowCache()
    cache.store(Fetched(pages={0: page_of(0)}, anchors={1: (255,)}))
    assert cache.row_count == 2 * PAGE_ROWS
    cache.store(Fetched(pages={1: page_of(1, 7)}, ended_at=PAGE_ROWS + 7))
    assert cache.row_count == PAGE_ROWS + 7
    assert cache.total == PAGE_ROWS + 7


def test_an_empty_table_has_nothing_missing_once_it_was_read() -> None:
    cache = RowCache()
    assert cache.missing(range(3)) == [0]
    cache.store(Fetched(pages={0: ()}, ended_at=0))
    assert cache.missing(range(3)) == []
    assert cache.row_count == 0
