"""Neighbours by torch alone: every distance of a chunk of queries, then the smallest k."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

N_BRUTE = {"cpu": 256, "cuda": 4096}  # queries for the peers that compute every distance
CHUNK = {"cpu": 32, "cuda": 512}  # of them at a time in float32: (512, 1 000 000, 3) take 6 GB


def exact(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """dist2 (M, k) and index (M, k) from differences of coordinates."""
    dist2, index = ((points[None] - queries[:, None]) ** 2).sum(-1).topk(k, largest=False)
    return dist2, index


def cdist(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same by way of a matrix product, which loses digits: there for its speed alone."""
    distance, index = torch.cdist(queries, points).topk(k, largest=False)
    return distance**2, index


def in_chunks(search: Callable, points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``search`` for as many queries at a time as memory allows."""
    rows = CHUNK[queries.device.type] * 4 // queries.element_size()
    parts = [search(points, chunk, k) for chunk in queries.split(rows)]
    return torch.cat([dist2 for dist2, _ in parts]), torch.cat([index for _, index in parts])


def torch_exact(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """:func:`exact` in chunks, in the dtype given: in float64 it is the reference of the other peers."""
    return in_chunks(exact, points, queries, k)
