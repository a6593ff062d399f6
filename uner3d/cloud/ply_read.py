"""Reads the vertices of PLY files, ours and most others': binary of either byte order, and ascii."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .types import Cloud

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_FORMATS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_MAX_HEADER_LINES = 4096
_MAX_LINE = 65536
_BLOCK = 1 << 20  # vertices converted at a time, so that the packed rows are never copied whole


@dataclass
class _Element:
    name: str
    count: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    has_list: bool = False


def read_ply(path: str | Path) -> Cloud:
    """Read the vertices of a PLY file as a Cloud; faces and other elements are ignored.

    Positions keep the file's precision (float32 or float64). Normals, colours (``red green blue``, ``r g b`` or
    ``diffuse_*``; floats in [0, 1] and 16-bit values become uint8), ``confidence`` and ``n_views`` are read where
    present. Raises FileNotFoundError, or ValueError that names the file and says what is wrong: not a PLY, a broken
    header, no vertices, no x, y, z, or cut short (with the bytes expected and found).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        order, elements = _read_header(path, file)
        index = next((i for i, element in enumerate(elements) if element.name == "vertex"), None)
        if index is None or elements[index].count == 0:
            raise ValueError(f"{path}: the PLY holds no vertices")
        vertex, before = elements[index], elements[:index]
        names = [name for name, _ in vertex.fields]
        missing = [name for name in "xyz" if name not in names]
        if missing:
            raise ValueError(f"{path}: element vertex: expected properties x, y, z, missing {', '.join(missing)}")
        if vertex.has_list:
            raise ValueError(f"{path}: element vertex: list properties are not supported")
        if order:
            rows = _map_rows(path, file.tell(), order, vertex, before)
        else:
            rows = _read_ascii(path, file, vertex, sum(element.count for element in before))
    return _to_cloud(rows)


def _read_header(path: Path, file: BinaryIO) -> tuple[str, list[_Element]]:
    if file.readline(_MAX_LINE).strip() != b"ply":
        raise ValueError(f"{path}: not a PLY file: expected its first line to be 'ply'")
    order: str | None = None
    elements: list[_Element] = []
    for _ in range(_MAX_HEADER_LINES):
        raw = file.readline(_MAX_LINE)
        line = raw.decode("ascii", "replace").strip()
        words = line.split()
        if not raw:
            break
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words == ["end_header"]:
            if order is None:
                raise ValueError(f"{path}: PLY header: the line 'format ...' is missing")
            return order, elements
        try:
            if words[0] == "format":
                order = _FORMATS[words[1]]
            elif words[0] == "element":
                elements.append(_new_element(*words[1:]))
            elif words[0] == "property" and words[1] == "list":
                elements[-1].has_list = True
            elif words[0] == "property":
                elements[-1].fields.append((words[2], _TYPES[words[1]]))
            else:
                raise ValueError
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"{path}: PLY header: cannot understand the line {line[:80]!r}") from None
    raise ValueError(f"{path}: PLY header: the line 'end_header' is missing")


def _new_element(name: str, count: str) -> _Element:
    if int(count) < 0:
        raise ValueError
    return _Element(name, int(count))


def _map_rows(path: Path, offset: int, order: str, vertex: _Element, before: list[_Element]) -> NDArray[np.void]:
    for element in before:
        if element.has_list and element.count:
            raise ValueError(f"{path}: element {element.name}: lists before the vertices are not supported")
        offset += element.count * sum(np.dtype(kind).itemsize for _, kind in element.fields)
    dtype = np.dtype([(name, order + kind) for name, kind in vertex.fields])
    found, expected = path.stat().st_size, offset + vertex.count * dtype.itemsize
    if found < expected:
        raise ValueError(
            f"{path}: the file is cut short: expected at least {expected} bytes for {vertex.count} vertices, "
            f"found {found}"
        )
    return np.memmap(path, dtype, "r", offset, (vertex.count,))


def _read_ascii(path: Path, file: BinaryIO, vertex: _Element, skip: int) -> NDArray[np.void]:
    dtype = np.dtype([(name, kind) for name, kind in vertex.fields])
    for _ in range(skip):
        file.readline()
    try:
        with warnings.catch_warnings():  # numpy warns where there are no rows at all: the count below says it better
            warnings.simplefilter("ignore", UserWarning)
            rows = np.loadtxt(
                file, np.float64, max_rows=vertex.count, usecols=range(len(vertex.fields)), ndmin=2, comments=None
            )
    except ValueError as error:
        raise ValueError(f"{path}: element vertex: {error}") from error
    if len(rows) < vertex.count:
        raise ValueError(f"{path}: the file is cut short: expected {vertex.count} vertex lines, found {len(rows)}")
    packed = np.empty(vertex.count, dtype)
    for k, (name, _) in enumerate(vertex.fields):
        packed[name] = rows[:, k]
    return packed


def _to_cloud(rows: NDArray[np.void]) -> Cloud:
    names = rows.dtype.names or ()
    real = np.float32 if all(rows.dtype[name].str[1:] == "f4" for name in "xyz") else np.float64
    columns: dict[str, tuple[tuple[str, ...], type]] = {
        "xyz": (("x", "y", "z"), real),
        "normals": (("nx", "ny", "nz"), np.float32),
        "confidence": (("confidence",), np.float32),
        "n_views": (("n_views",), np.uint8),
    }
    columns = {key: value for key, value in columns.items() if set(value[0]) <= set(names)}
    colours = next((group for group in _COLOURS if set(group) <= set(names)), None)
    if colours:
        columns["rgb"] = (colours, np.uint8)
    arrays: dict[str, NDArray] = {
        key: np.empty((len(rows), len(group)), dtype) for key, (group, dtype) in columns.items()
    }
    scale = _colour_scale(rows, colours) if colours else 1.0
    for start in range(0, len(rows), _BLOCK):
        block = np.asarray(rows[start : start + _BLOCK])
        for key, (group, _) in columns.items():
            for k, name in enumerate(group):
                column = block[name]
                if key == "rgb" and column.dtype != np.uint8:
                    column = np.clip(np.rint(np.nan_to_num(column.astype(np.float64)) * scale), 0, 255)
                arrays[key][start : start + len(block), k] = column
    for key in ("confidence", "n_views"):
        if key in arrays:
            arrays[key] = arrays[key][:, 0]
    return Cloud(**arrays)


def _colour_scale(rows: NDArray[np.void], colours: tuple[str, ...]) -> float:
    """What stored colours are multiplied with to reach 0..255: floats are in [0, 1], unless one exceeds it."""
    kind = rows.dtype[colours[0]]
    if kind.kind == "f":
        return 255.0 if max(float(np.nanmax(rows[name])) for name in colours) <= 1.0 else 1.0
    return 255.0 / 65535.0 if kind.itemsize == 2 else 1.0
