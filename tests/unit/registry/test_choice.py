"""Which images may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flops_registry.housekeeping.choice import GRACE, stale
from flops_registry.housekeeping.interface import StoredImage
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)


def image(number: int, age: timedelta | None, slug: str = "a") -> StoredImage:
    used = None if age is None else NOW - age
    return StoredImage(slug, f"sha256:{number:064x}", f"sha256:{number:064x}", "", "", (), 1, used)


def test_the_old_ones_go() -> None:
    images = [image(1, DAY), image(2, 40 * DAY), image(3, 31 * DAY), image(4, 29 * DAY)]
    assert {each.image_key[-1] for each in stale(images, NOW, 30 * DAY, 0, ())} == {"2", "3"}


def test_so_many_of_each_repository_stay() -> None:
    images = [image(1, 50 * DAY), image(2, 40 * DAY), image(3, 60 * DAY), image(4, 90 * DAY, "b")]
    assert {each.image_key[-1] for each in stale(images, NOW, 30 * DAY, 1, ())} == {"1", "3"}


def test_what_is_needed_or_was_just_used_stays() -> None:
    images = [image(1, 50 * DAY), image(2, timedelta(minutes=5)), image(3, None)]
    assert stale(images, NOW, timedelta(0), 0, {images[0].image_key}) == []


@given(
    st.lists(st.one_of(st.none(), st.timedeltas(timedelta(0), 100 * DAY)), max_size=8),
    st.timedeltas(timedelta(0), 100 * DAY),
    st.integers(0, 4),
)
def test_nothing_young_ever_goes(ages: list[timedelta | None], older_than: timedelta, keep: int) -> None:
    images = [image(number, age) for number, age in enumerate(ages)]
    gone = stale(images, NOW, older_than, keep, ())
    assert all(each.last_used is not None and NOW - each.last_used > max(older_than, GRACE) for each in gone)
    assert len(images) - len(gone) >= min(keep, len(images))
