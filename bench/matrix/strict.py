"""What the models of a matrix file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Takes no key that it does not know, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
