"""Writing files so that nothing half-written is ever seen under its final name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a new binary file that takes the name ``path`` only when the block ends without an error.

    It is written under a temporary name in the same folder (a rename across file systems would not be atomic), synced
    and renamed; on an error the temporary file is removed and whatever was at ``path`` before stays as it was.
    Raises OSError naming the folder when it does not exist or cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected the name of a file, but this is a folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(path: str | Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256: which one it was."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
