"""How patient the manager is."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """Limits that hold for every project, and the secret that learners' tokens are made of. Seconds."""

    secret: bytes
    actor_restarts: int = 3
    builder_restarts: int = 1
    start_seconds: float = 60
    """How long an actor may run without a word."""
    lost_seconds: float = 30
    """How long an actor that still runs may be away from the broker."""
    settle_seconds: float = 0.5
    """How long the last words of an actor that ended may be on their way."""
    error_reports: int = 200
    """How many errors that end nothing are written into one attempt's history."""

    def token(self, project: str, attempt: int, instance: str) -> str:
        """What a learner shows when it opens its stream: nobody can guess it, and every manager finds it again."""
        text = f"{project}/{attempt}/{instance}".encode()
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()[:32]
