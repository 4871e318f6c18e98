"""Why a user was not scored."""

from datetime import date
from typing import Any

from churn.config.settings import Settings
from churn.core.calendar import Windows, day_offsets
from churn.features.aggregates import weekly
from churn.features.aggregates.tables import query
from churn.features.product_filter import match_names, match_parameters
from churn.sources.availability import check_tables
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import load_step, render, sql_root


def why_not_scored(
    warehouse: Warehouse, settings: Settings, name: str, windows: Windows, user: str
) -> str | None:
    """Return the one reason for which a user was not scored as of a date, as part of a sentence.

    The rules are those of ``sql/dataset/eligible.sql``, tried in its order.

    Example:
        >>> why_not_scored(warehouse, settings, "iplayer", Windows(date(2026, 6, 28)), "u1")
        'last active on 2026-06-14, and only users active in the week to 2026-06-28 are scored'

    Returns:
        None if the warehouse no longer has the activity that the run read, or knows no reason.
    """
    tables = weekly.aggregate_tables(settings)
    if not warehouse.columns(tables.table("user_week")):
        return None
    product, title = settings.product(name), settings.product(name).title
    names = {**day_offsets(), **match_names(product), "kept": tables.table}
    values = {"as_of": windows.as_of, "user": user, **match_parameters(product)}
    text = (sql_root() / "checks" / "not_scored.sql").read_text("utf-8")
    known = query(warehouse, warehouse, text, values, names)[0]
    if known["last_with_any"] is None:
        return f"the activity up to {windows.as_of} has no such id"
    if known["last_date"] is None:
        return f"never active with {title} up to {windows.as_of}, only with other products"
    if known["last_date"] < windows.last_week_start:
        scored = f"only users active in the week to {windows.as_of} are scored"
        return f"last active on {known['last_date']}, and {scored}"
    if product.minimum_value is not None and (known["value"] or 0) <= product.minimum_value:
        value = f"{float(known['value'] or 0):,.6g} {product.value_unit} in 13 weeks"
        return f"{value}, and only users with more than {product.minimum_value:,g} are scored"
    return _account(warehouse, settings, windows.as_of, product.minimum_account_age_days, user)


def _account(warehouse: Warehouse, settings: Settings, as_of: date, least_days: int, user: str) -> str | None:
    """Return what about the user's account keeps them from being scored; None if nothing does."""
    available = check_tables(warehouse, settings.source).available
    if not available.profile:
        return None
    names: dict[str, Any] = {"has_predictions": available.predictions}
    step = load_step(f"sources/{settings.source}/profile.sql", names)
    text = f"select usable, created_date from ({step.text}\n) as profile where user_id = :user"
    statement = render(text, names, {"user": user}, "kept", warehouse.dialect)
    rows = warehouse.fetch(statement.sql, statement.parameters).to_pylist()
    if rows and rows[0]["usable"] is False:
        return "the account is deleted, or has several rows that differ"
    if rows and rows[0]["created_date"] and (as_of - rows[0]["created_date"]).days < least_days:
        return f"the account is younger than {least_days} days"
    return None
