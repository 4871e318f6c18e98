"""Which products of the activity count as a product, for SQL templates."""

from typing import Any

from churn.config.settings import Product


def match_names(product: Product) -> dict[str, Any]:
    """Return what templates are told of which products of the activity count as this one."""
    return {"matches": list(range(len(product.match)))}


def match_parameters(product: Product) -> dict[str, Any]:
    """Return the values that go with ``match_names``."""
    return {f"match_{index}": value for index, value in enumerate(product.match)}
