"""Explain predictions: exact SHAP contributions, reasons of each user, importance of each feature.

In: a model and encoded features. Out: contributions in log-odds (bias + contributions = margin), reasons,
effects.
Start with ``contributions``, then ``treeshap`` and ``kernel`` (the fast path), then ``wording`` (sentences).
Import ``user.explain_user``, ``effects.read_summary``, ``contributions.contributions``. This face stays
empty: `churn explain` must not load XGBoost.
"""
