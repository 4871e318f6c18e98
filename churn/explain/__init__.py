"""Why a prediction is what it is: exact SHAP contributions, each user's reasons, and what moves them all.

In: a model and encoded features. Out: contributions in log-odds (bias + contributions = margin), reasons,
effects.
Start with ``contributions``, then ``treeshap`` and ``kernel`` (the fast path), then ``wording`` (sentences).
Import ``user.explain_user``, ``effects.read_summary``, ``contributions.contributions``. This face stays
empty: `churn explain` must not load XGBoost.
"""
