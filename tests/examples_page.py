"""docs/examples.md: the worked examples and what they print. Written by

    python -m tests.examples_page [NAME…]

which runs those named (none: only writes the page) on the local model, and keeps what they print in
examples_shown.json; the tests check that the page shows each script as it stands.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "examples.md"
SHOWN = Path(__file__).parent / "examples_shown.json"
SIZES = {
    "ticket_triage": "24",
    "content_moderation": "40",
    "market_intelligence": "16",
    "parliament_debates": "6",
    "product_matching": "10",
}
HEAD = """# Worked examples

Five scripts over real data, and what each printed on the packaged local model (0.5 billion
parameters, on two CPU cores). They show how the pieces go together; what so small a model says is
often wrong, and a larger one is a word in `model=` or one line of swath.toml.

The data are public sets that are not part of this repository; `SWATH_DATA` names their folder:
Banking77 (PolyAI, CC BY 4.0), sentence polarity v1.0 (Pang and Lee 2005, CC BY 4.0), EuroParlMin
(from Europarl), Abt-Buy (Leipzig entity-resolution benchmarks). Each script takes a number of rows.
"""


def written(outputs: dict[str, str]) -> str:
    parts = [HEAD]
    for name, output in outputs.items():
        source = (ROOT / "examples" / f"{name}.py").read_text("utf-8").strip()
        title = name.replace("_", " ").capitalize()
        parts.append(
            f"## {title}\n\n```python\n{source}\n```\n\n"
            f"`python examples/{name}.py {SIZES[name]}` printed:\n\n```\n{output}\n```\n"
        )
    return "\n".join(parts)


def printed(name: str) -> str:
    """What a script prints, in a folder with a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / f"{name}.py"), SIZES[name]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{name}: {done.stdout}{done.stderr}")
    return done.stdout.strip("\n")


if __name__ == "__main__":
    shown = json.loads(SHOWN.read_text("utf-8"))
    for name in sys.argv[1:]:
        shown[name] = printed(name)
        SHOWN.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(written({name: shown[name] for name in SIZES}), "utf-8")
