"""docs/recipes.md: the catalogue, and what the local model answers to each.

`python -m tests.recipes_page` writes the page; with `--ask NAME …` (or `--ask all`) the model is
asked anew first, and its answers are kept in tests/recipes_shown.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl

import swath as sw
from swath import demo
from swath.recipes import showing

ROOT = Path(__file__).parent.parent
PAGE, SHOWN = ROOT / "docs" / "recipes.md", Path(__file__).parent / "recipes_shown.json"
MODEL = "qwen2.5-coder-0.5b"
MOST_TOKENS = 320  # an answer: the local model is held to end within
MOST = 2  # items of a list
DRUGS, FARMS = 1158, 329
ON_DRUGS = frozenset(
    (
        *("claims", "claims_to_check", "emotion", "entities", "questions", "relations"),
        *("sections", "timeline", "topics"),
    )
)
"""Recipes whose matter the first text has and the second has not."""
GROUP = (282, 283)
CORPUS = (282, 283, 551, 549)
DEAR = ("citation_network", "contradictions", "glossary", "questions_the_corpus_answers")
"""Those that ask for a list of each text: over the texts of GROUP alone."""

INTRO = """\
# Recipes

Ready enrichments: a schema, a prompt that a small model understands, and golden examples. Each is
an operator like any other.

```python
import swath as sw

frame = sw.read_csv("speeches.csv")
frame.with_columns(  # over rows
    argument=sw.recipes.arguments("speech", model="fast"),
    stance=sw.recipes.stance("speech", target="the euro"),
)
frame.group_by("debate").agg(  # over groups
    agreed=sw.recipes.consensus("{{speaker}}: {{speech}}"),
)
sw.recipes.contradictions(frame, "speech", id="id")  # over the corpus: a frame of a frame
```

In a terminal: `swath recipes`, `swath recipes show stance`, and
`swath enrich speeches.csv -c speech --recipe stance --set target="the euro"`.

- `model`, `long`, `max_tokens`, `temperature` are those of `sw.extract` and `sw.classify`
  ([operators](frame.md)). `most=5` bounds a list; `labels=` replaces a recipe's labels, or makes
  `topics` choose among yours.
- `examples=True` shows the model the golden examples, a list shows yours, `False` none. Left out,
  they are shown where a list may be empty: without them the local model leaves it empty.
- Evidence is typed `sw.Quote`: a quote that the text does not hold is asked for again, and then
  fails its row. It is never made up.
- `recipe.golden` is a [golden set](golden.md), `recipe.examples` its pairs. In the sets the
  examples are not shown. Copy one and add your own rows: two or three show what is meant, and
  measure nothing. Where labels are compared, the check is `exact`; else it is the words shared with
  the expected answer, which is rough.
- A recipe over the corpus finds texts that are alike by local embeddings (extra `tables`) and puts
  only those to the model. `k` and `threshold` say how many.

## How good are they?

As good as the model. Every answer below is what `{model}` gave ({size}),
with `most={most}` (entities and topics aside) and `max_tokens={tokens}`; nothing was picked or
mended. Types and quotes hold at any size (a date whose year is not in the quote is left out); the
judgement does not. At 0.5B the model copies sentences where it should use its own words, puts a
claim beside the quote of its neighbour, takes any sentence for an event or a term, grades without
reason, and is often wrong about how two texts are related. Names, references and main claims are
usable, and labels roughly; take the rest as a test of your plan and run it on a larger model.
`sw.compare` and `swath eval` say whether a larger one is worth it.
"""


def excerpt(id: int, characters: int = 280) -> str:
    """The first sentences of a speech of the demo, greetings and apologies left out."""
    speech = demo.speeches().filter(pl.col("id") == id)["speech"][0]
    if id == FARMS:
        speech = speech.partition("\n\n")[2]
    return " ".join(speech[:characters].rpartition(".")[0].split()) + "."


def text_for(name: str) -> str:
    return excerpt(DRUGS if name in ON_DRUGS else FARMS)


def corpus(ids: tuple[int, ...]) -> pl.DataFrame:
    rows = demo.speeches().filter(pl.col("id").is_in(ids)).select("id", "date", "debate", "speaker")
    return rows.with_columns(text=pl.Series([excerpt(id) for id in rows["id"]]))


def asked(name: str, most: int = MOST) -> tuple[pl.DataFrame, sw.Frame]:
    """The table, and the frame of `name` over it: one text, one group, or a small corpus."""
    recipe: Any = sw.recipes.get(name)
    if recipe.over == "corpus":
        table = corpus(GROUP if name in DEAR else CORPUS)
        more = {"id": "id"}
        if name in ("taxonomy", "evolution_over_time"):
            more = {"k": 2, "areas": 2} if name == "taxonomy" else {"when": "date", "by": "debate"}
        if name == "reply_threads":
            more |= {"within": "debate"}
        return table, recipe(sw.frame(table), "text", **more)
    if recipe.over == "group":
        table = corpus(GROUP)
        made = recipe("{speaker}: {text}", max_tokens=MOST_TOKENS)
        return table, sw.frame(table).agg(x=made)
    given = recipe.sample
    if name == "stance":
        given = {"target": "voluntary modulation"}
    text = text_for(name)
    if name in sw.recipes.names("row") and name in ("answers", "contradicts", "relates"):
        text = f"First: {excerpt(GROUP[0])}\n\nSecond: {excerpt(GROUP[1])}"
    settings: dict[str, Any] = {} if recipe.labels else {"max_tokens": MOST_TOKENS}
    if recipe.item is not None and name not in ("entities", "topics"):
        settings["most"] = most
    table = pl.DataFrame({"text": [text]})
    return table, sw.frame(table).with_columns(x=recipe("text", **given, **settings))


def session(store: str) -> sw.Session:
    options = {"slots": 2, "context": 4096}
    model = {"provider": "local", "model": MODEL, "options": options}
    return sw.Session({"models": {"local": model}, "store": store})


def ask(names: list[str]) -> None:
    shown = json.loads(SHOWN.read_text("utf-8")) if SHOWN.exists() else {}
    with session(f"sqlite:///{Path.home()}/.cache/swath/recipes-page.db") as opened:
        for name in names:
            _, frame = asked(name)
            run = frame.run(session=opened, progress=False)
            table = run.table
            if "x" in table.columns:
                rows: Any = table["x"].to_list()[0]
            else:
                rows = table.drop(["date", "debate", "text", "speaker"], strict=False).to_dicts()
            if run.errors.height:
                rows = f"failed: {run.errors['reason'][0]}"
            shown[name] = json.loads(json.dumps(rows, default=str))
            print(name, f"{run.metrics.seconds:.0f} s", json.dumps(shown[name])[:200], flush=True)
            SHOWN.write_text(json.dumps(shown, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def page() -> str:
    shown = json.loads(SHOWN.read_text("utf-8"))
    size = "0.5 billion parameters in 4 bits"
    parts = [INTRO.format(model=MODEL, size=size, tokens=MOST_TOKENS, most=MOST)]
    parts.append("The texts are from the demo's speeches (EuroParlMin, from Europarl):\n")
    parts += [f"> {excerpt(id)}\n" for id in (FARMS, DRUGS)]
    parts.append(
        f"Those over groups read the first sentences of speeches {GROUP[0]} and {GROUP[1]}, those "
        f"over the corpus of these and of {CORPUS[2]} and {CORPUS[3]} (by id; "
        f"{', '.join(DEAR[:-1])} and {DEAR[-1]} of the first two).\n"
    )
    titles = {"row": "Over rows", "group": "Over groups", "corpus": "Over the corpus"}
    for over, title in titles.items():
        parts.append(f"## {title}\n")
        parts += [_entry(name, shown) for name in sw.recipes.names(over)]
    return "\n".join(parts)


def _entry(name: str, shown: dict[str, Any]) -> str:
    recipe: Any = sw.recipes.get(name)
    parts = [f"### {name}\n\n{recipe.about}\n\n```python\n{showing.usage(recipe)}\n```\n"]
    if recipe.over == "corpus":
        how = " ".join(recipe.how.split())
        parts.append(how + (f" Asks by: {', '.join(recipe.parts)}." if recipe.parts else "") + "\n")
    else:
        parts.append(
            f"Gives `{showing.dtype(recipe)}`.\n\n```text\n{showing.prompt(recipe)}\n```\n"
        )
    if name in shown:
        read = ", of the second text" if name in ON_DRUGS else ""
        parts.append(f"{MODEL} answers{read}:\n\n```json\n{_lines(shown[name])}\n```\n")
    return "\n".join(parts)


def _lines(answer: Any) -> str:
    def said(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    if isinstance(answer, list) and answer:
        return "[" + ",\n ".join(map(said, answer)) + "]"
    return said(answer)


if __name__ == "__main__":
    if "--ask" in sys.argv:
        wanted = sys.argv[sys.argv.index("--ask") + 1 :]
        ask(sw.recipes.names() if wanted == ["all"] else wanted)
    else:
        PAGE.write_text(page(), "utf-8")
