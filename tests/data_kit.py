"""The public data sets that some tests read: a folder that is not part of this repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(
    os.environ.get("SWATH_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)


def data(name: str) -> Path:
    """The file or folder `name` of the data; the test is skipped where there is none."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is not here: name the data's folder in SWATH_DATA")
    return path
