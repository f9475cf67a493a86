"""Where the worked examples find their data: public sets that are not part of this repository.

`SWATH_DATA` names the folder; without it a `shared/data` beside the repository, or above it, is
looked for. The sets, their sources and licences are listed in docs/examples.md.
"""

import os
import sys
from pathlib import Path


def path(name: str) -> Path:
    """The file `name` of the data, or the end of the script with what to do."""
    given = os.environ.get("SWATH_DATA")
    folders = [Path(given)] if given else [p / "shared/data" for p in Path(__file__).parents]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    sys.exit(f"'{name}' was not found. Put the data into a folder and name it in SWATH_DATA.")
