"""Why a prediction is what it is: exact SHAP contributions, each user's reasons, and what moves them all.

In: a model and encoded features. Out: contributions in log-odds (bias + contributions = margin), reasons,
effects.
Start with ``contributions``, then ``treeshap`` and ``kernel`` (the fast path), then ``wording`` (sentences).
Import from this face, ``user.explain_user`` excepted.
"""

from churn.explain.effects import ContributionSummary, FeatureImportance, read_summary
from churn.explain.reasons import TopReasons, reason_table, top_reasons
from churn.explain.wording import describe_reasons

__all__ = [
    "ContributionSummary",
    "FeatureImportance",
    "TopReasons",
    "describe_reasons",
    "read_summary",
    "reason_table",
    "top_reasons",
]
