"""Reading ahead: several slow answers under way at once, taken in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

AHEAD = 8


def in_order(read: Callable[[Item], Found], items: Sequence[Item], ahead: int = AHEAD) -> Iterator[Found]:
    """Yield what is read of each item, in order; at most ``ahead`` are under way or wait to be taken."""
    with ThreadPoolExecutor(ahead) as pool:
        for start in range(0, len(items), ahead):
            yield from pool.map(read, items[start : start + ahead])
