"""Why a prediction is what it is: exact SHAP contributions, each user's reasons, and what moves them all.

Contributions are in log-odds (the model's margin): a user's margin is the bias plus all contributions.
"""

from churn.explain.effects import ContributionSummary, FeatureImportance, read_summary
from churn.explain.readers import read_contributions, read_reasons
from churn.explain.reasons import TopReasons, reason_table, top_reasons
from churn.explain.wording import in_words

__all__ = [
    "ContributionSummary",
    "FeatureImportance",
    "TopReasons",
    "in_words",
    "read_contributions",
    "read_reasons",
    "read_summary",
    "reason_table",
    "top_reasons",
]
