"""`swath label`: people's own verdicts on a random sample of compared pairs, blind."""

from __future__ import annotations

import getpass
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swath.cli import console
from swath.cli.options import ConfigPath

EXAMPLES = """\b
swath label 3f2a
swath label my_comparison/ --n 100 --annotator ada
"""
KEYS = "1 first, 2 second, t tie, s skip, q quit"
WIDTH = 80

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison
    from swath.evals.labelling import Labels, Shown


def label(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A comparison: its id, the start of it, or folder.")
    ],
    n: Annotated[int, typer.Option("--n", "-n", metavar="N", min=1, help="Pairs to label.")] = 50,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, another sample.")] = 0,
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who labels. [default: your login]")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Label pairs of a comparison yourself: which answer is better, not knowing whose it is.

    The pairs are a random sample and each is shown in a random order. Labels are kept after each
    key, in human.parquet beside the comparison; the next call goes on where you stopped. At the
    end the judge is held against your labels. Nothing is asked or spent.
    """
    from swath.config import load
    from swath.errors import InputError
    from swath.evals import labelling
    from swath.evals.comparison import Comparison
    from swath.evals.keeping import find

    folder = find(run, load(config))
    made = Comparison.load(folder)
    if made.items is None or not made.items.height:
        raise InputError(
            f"The comparison in '{folder}' has no pairs to label.",
            hint="In no row did two models answer.",
        )
    who = annotator or _login()
    labels = labelling.Labels(folder)
    drawn = labelling.draw(made.items, n, seed)
    have = labels.by(who)
    todo = [p for p in labelling.pairs(drawn, who, seed) if p.item_id not in have]
    done = drawn.height - len(todo)
    console.note(f"{drawn.height} pairs, {done} of them labelled. Keys: {KEYS}, then Enter.")
    for i, pair in enumerate(todo, done + 1):
        # In the order drawn, equal answers too: wherever one stops, the labels are a random sample.
        same = pair.first == pair.second
        key = "t" if same else _ask(pair, f"{i} of {drawn.height}")
        if key == "q":
            break
        if key != "s":
            labels.add(pair.item_id, who, pair.label(key))
    _conclude(made, labels, folder)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no login in a container
        return "me"


def _ask(pair: Shown, place: str) -> str:
    """One of the keys; q where the input ends."""
    rule = "─" * WIDTH
    console.say(f"\n{rule}\nPair {place}\n\n{_filled(pair.task)}")
    if pair.reference:
        console.say(f"\nReference\n{_filled(pair.reference)}")
    console.say(
        f"\n── Answer 1 ──\n{_filled(pair.first)}\n\n── Answer 2 ──\n{_filled(pair.second)}\n"
    )
    while True:
        print("Better (1, 2, t, s, q)? ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        key = line.strip().lower()
        if not line or key == "q":
            return "q"
        if key in ("1", "2", "t", "s"):
            return key
        console.note(f"Keys: {KEYS}.")


def _filled(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(textwrap.fill(line, WIDTH, replace_whitespace=False) for line in lines)


def _conclude(made: Comparison, labels: Labels, folder: Path) -> None:
    """The judge held against the labels, and kept so."""
    if not labels.table.height:
        console.note("No labels yet.")
        return
    known = made.with_human(labels.table)
    known.save(folder)
    console.say(f"\n{known}")
    console.note(
        f"\n{console.count(labels.table.height, 'label')} in {console.place(labels.path)}."
    )
