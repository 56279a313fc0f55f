"""`flops protocol`: the contracts, for whoever writes a service of their own."""

from __future__ import annotations
