"""What is kept of each user's contributions."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ContributionType = Literal["float32", "float16", "none"]


class ExplainSettings(BaseModel):
    """What scoring keeps of the contributions.

    Attributes:
        reasons: largest contributions of each user that go into the reasons.
        contributions: how all contributions are written: ``float32``; ``float16``, half the size, rounded to
            1/2048 of each value (the run states the greatest error); ``none``, only the reasons are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: int = Field(default=5, ge=3, le=20)
    contributions: ContributionType = "float32"
