"""The federation's tests open streams in their own process."""

import pytest


@pytest.fixture(autouse=True)
def _on_one_loop(one_loop: None) -> None:
    """See `one_loop`."""
