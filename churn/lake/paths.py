"""Paths of a lake's folders and files."""

import re

from churn.core.errors import UsageError

MANIFEST = "manifest.json"

_FILE_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._=-]{0,199}")


def product_folder(root: str, product: str) -> str:
    """Return the folder of a product's runs."""
    return f"{root}/runs/product={product}"


def week_folder(root: str, product: str, week: str) -> str:
    """Return the folder of a target week's runs; the week as ``YYYY-MM-DD``."""
    return f"{product_folder(root, product)}/week_start={week}"


def run_folder(root: str, product: str, week: str, run_id: str) -> str:
    """Return the folder of a committed run."""
    return f"{week_folder(root, product, week)}/run={run_id}"


def staging_folder(root: str, product: str) -> str:
    """Return the folder of a product's runs that are being written, and of other temporary files."""
    return f"{root}/.staging/product={product}"


def copy_folder(root: str, product: str) -> str:
    """Return the folder for temporary files of a warehouse that loads a run."""
    return f"{staging_folder(root, product)}/copy"


def pointer(root: str, product: str) -> str:
    """Return the file that names a product's current run."""
    return f"{product_folder(root, product)}/current.json"


def path_inside(base: str, parts: tuple[str, ...]) -> str:
    """Return the path of a file or folder inside ``base``.

    Raises:
        UsageError: a name is unsafe, or leads out of it.
    """
    names = [name for part in parts for name in part.split("/")]
    for name in names:
        if not _FILE_NAME.fullmatch(name) or name in (".", ".."):
            raise UsageError(
                f"{'/'.join(parts)!r} is no path inside a run: use names of A-Z, a-z, 0-9 and '._=-'"
            )
    return "/".join([base, *names])
