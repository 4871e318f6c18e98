"""Paths of a lake's folders and files."""

MANIFEST = "manifest.json"


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
