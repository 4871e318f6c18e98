"""Reading ahead: several slow reads at once, results in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

PREFETCH = 8


def prefetch_map(
    read: Callable[[ItemT], ResultT], items: Sequence[ItemT], ahead: int = PREFETCH
) -> Iterator[ResultT]:
    """Yield ``read(item)`` of each item, in order; reads up to ``ahead`` items at once."""
    with ThreadPoolExecutor(ahead) as pool:
        for start in range(0, len(items), ahead):
            yield from pool.map(read, items[start : start + ahead])
