"""What labels and a judge's verdicts say about models, and how sure one may be of it.

| file | what |
| --- | --- |
| `tables` | verdicts, items and labels as they come, checked and put in one form |
| `estimate` | an estimate with its interval; resampling by the right unit |
| `agreement` | kappas, Krippendorff's alpha, judge with label, label with label |
| `position` | first-pick rate, agreement of the two orders, the settled verdict of both |
| `pairwise`, `strength`, `length` | win rates; Bradley-Terry, Elo; length-controlled rates |
| `ppi` | a few labels and many verdicts in one estimate (prediction-powered inference) |
| `decide` | "A", "B" or "cannot tell", and how many rows would settle it |
| `trust`, `favour` | whether a judge may be used; whether it prefers itself |
| `summarize` | all of it over groups of a verdict file: `swath judge stats` |

docs/statistics.md defines each figure, with its formula and source.
"""

from __future__ import annotations

from importlib.util import find_spec

from swath.errors import MissingExtra

if not all(find_spec(name) for name in ("numpy", "scipy", "evalica")):
    raise MissingExtra("Statistics of judges", "evals")
