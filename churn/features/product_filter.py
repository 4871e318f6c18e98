"""Which products of the activity belong to a product, for SQL templates."""

from typing import Any

from churn.config.settings import Product


def match_names(product: Product) -> dict[str, Any]:
    """Return the template name ``matches``: numbers of the values in ``match``; empty for all products."""
    return {"matches": list(range(len(product.match)))}


def match_parameters(product: Product) -> dict[str, Any]:
    """Return the values that statements bind: ``match_0``, ``match_1`` and so on."""
    return {f"match_{index}": value for index, value in enumerate(product.match)}
