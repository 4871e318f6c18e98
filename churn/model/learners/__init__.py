"""The learners: ways to fit a member of a model, each in a module of its own.

In: ``FitData``. Out: a ``Member`` with margins, whose file holds no pickle. ``base`` says what both can do.
Import ``make_learner`` and ``read_member``.
"""

from collections.abc import Callable

from churn.config.training import LearnerKind, LearnerSettings, TrainingSettings
from churn.model.learners.base import FitData, Grown, Learner, LearnerError, Member, Watch, unwatched
from churn.model.learners.boosted import Boosted, XGBoost
from churn.model.learners.light import LightBoosted, LightGBM
from churn.model.learners.linear import Linear, Logistic, PcaLogistic
from churn.model.learners.network import Network, NeuralNetwork
from churn.model.learners.segments import Segmented, Segments

__all__ = [
    "FitData",
    "Grown",
    "Learner",
    "LearnerError",
    "Member",
    "Watch",
    "make_learner",
    "member_suffix",
    "read_member",
    "unwatched",
]

_MEMBERS: dict[LearnerKind, type[Member]] = {
    "xgboost": Boosted,
    "lightgbm": LightBoosted,
    "logistic": Linear,
    "pca_logistic": Linear,
    "segments": Segmented,
    "network": Network,
}
_PLAIN: dict[LearnerKind, Callable[..., Learner]] = {
    "logistic": Logistic,
    "pca_logistic": PcaLogistic,
    "segments": Segments,
    "network": NeuralNetwork,
}


def make_learner(
    learner: LearnerSettings, settings: TrainingSettings, seed: int = 1, threads: int = 1
) -> Learner:
    """Return the learner that settings describe.

    Example:
        >>> make_learner(LearnerSettings(kind="logistic"), TrainingSettings()).fit(data, 1)

    Args:
        learner: its kind and parameters.
        settings: of the product's training; trees take their defaults from it.
        seed: of all its draws.
        threads: most threads of a fit; the member does not depend on it.
    """
    params = dict(learner.params)
    if learner.kind == "xgboost":
        return XGBoost(settings, seed, threads, params)
    if learner.kind == "lightgbm":
        return LightGBM(settings, seed, threads, params)
    return _PLAIN[learner.kind](seed, params)


def member_suffix(kind: LearnerKind) -> str:
    """Return how the name of a member's file ends, without the dot."""
    return _MEMBERS[kind].suffix


def read_member(kind: LearnerKind, raw: bytes, threads: int = 0) -> Member:
    """Read what ``Member.to_bytes`` returned.

    Raises:
        ValueError: the bytes are of something else.
        LearnerError: the learner's library is missing.
    """
    return _MEMBERS[kind].from_bytes(raw, threads)
