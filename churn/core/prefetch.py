"""Reading ahead: several slow answers under way at once, taken in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

PREFETCH = 8


def prefetch_map(
    read: Callable[[ItemT], ResultT], items: Sequence[ItemT], ahead: int = PREFETCH
) -> Iterator[ResultT]:
    """Yield what is read of each item, in order; at most ``ahead`` are under way or wait to be taken."""
    with ThreadPoolExecutor(ahead) as pool:
        for start in range(0, len(items), ahead):
            yield from pool.map(read, items[start : start + ahead])
