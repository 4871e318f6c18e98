"""Which contributions scoring writes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ContributionType = Literal["float32", "float16", "none"]


class ExplainSettings(BaseModel):
    """Which contributions scoring writes.

    Attributes:
        reasons: reasons per user: their largest contributions.
        contributions: how all contributions are written: ``float32``; ``float16``, half the size, rounded to
            1/2048 of each value (the run states the largest error); ``none``, only the reasons are written.
        sentences: whether each reason is also written as a sentence, beside its value. It takes some 20
            microseconds of CPU time a reason.
        themes: whether each user's contributions are also summed up by feature group, in ``themes``.
        learner_scores: whether each learner of a stack has a score of its own for each user, in
            ``learner_scores`` and, beside the stack's, in the table of scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: int = Field(default=5, ge=3, le=20)
    contributions: ContributionType = "float32"
    sentences: bool = False
    themes: bool = False
    learner_scores: bool = False
