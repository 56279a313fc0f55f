"""What every message has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """The `data` of an envelope.

    Writers may only set fields that exist; readers ignore fields that they do not know (the codec sees to that).
    NaN and infinities are refused: JSON has no way to write them (RFC 8259, section 6).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_timedelta="float")
