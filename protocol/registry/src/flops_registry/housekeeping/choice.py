"""Which images may go: a pure function of their ages and uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from flops_protocol.identifiers import Digest

from flops_registry.housekeeping.interface import StoredImage

GRACE = timedelta(hours=1)
"""What was used within it stays, whatever is asked for: a project may be about to start it."""
LONG_AGO = datetime.fromtimestamp(0, UTC)


def stale(
    images: Sequence[StoredImage], now: datetime, older_than: timedelta, keep: int, needed: Collection[Digest]
) -> list[StoredImage]:
    """Those that were not used for so long, and are not needed.

    :param keep: so many of each repository stay, those that were used last
    :param needed: image keys of projects that are not over
    """
    limit = now - max(older_than, GRACE)
    seen: dict[str, int] = {}
    found = []
    for image in sorted(images, key=lambda each: each.last_used or LONG_AGO, reverse=True):
        seen[image.slug] = seen.get(image.slug, 0) + 1
        if image.image_key in needed or seen[image.slug] <= keep:
            continue
        # Nobody knows how old one is that was never noted: whoever lists it has it noted from now on.
        if image.last_used is not None and image.last_used < limit:
            found.append(image)
    return found
