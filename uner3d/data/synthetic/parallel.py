"""Independent pieces of work on as many threads as torch uses, each piece on one.

Tracing is thousands of small torch operations. One thread per piece needs no barrier after every operation, which
costs most when the cores are busy, and makes the result independent of the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results in the items' order, as they become ready; torch's thread count is restored at the end."""
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(n_threads)
