"""Ready enrichments, each with a schema, a prompt that a small model understands and golden
examples: `sw.recipes.arguments("speech", model="fast")`.

Over rows (for `with_columns`), over groups (for `group_by(…).agg`), and over a whole corpus (a
frame of a frame). `names()` lists them, `get(name)` finds one. One small file a family; a recipe is
an entry in it, and `golden/<name>.toml` its examples.
"""

from __future__ import annotations

from swath.errors import InputError, listing
from swath.recipes.argument import (
    argument_quality,
    arguments,
    bias,
    claims,
    claims_to_check,
    key_points,
)
from swath.recipes.attitude import discourse_type, emotion, intent, sentiment, stance, style
from swath.recipes.corpus import (
    citation_network,
    contradictions,
    cross_references,
    evolution_over_time,
    glossary,
    questions_the_corpus_answers,
    reply_threads,
    taxonomy,
)
from swath.recipes.facts import (
    citations,
    entities,
    quotes_with_speakers,
    relations,
    terms,
    timeline,
)
from swath.recipes.groups import comparative_view, consensus, defines, gaps, phases
from swath.recipes.pairs import answers, contradicts, pair, relates
from swath.recipes.recipe import Corpus, Group, Recipe, Row
from swath.recipes.structure import questions, reply, rhetorical_devices, sections, topics

__all__ = [
    "Corpus",
    "Group",
    "Recipe",
    "Row",
    "answers",
    "argument_quality",
    "arguments",
    "bias",
    "citation_network",
    "citations",
    "claims",
    "claims_to_check",
    "comparative_view",
    "consensus",
    "contradictions",
    "contradicts",
    "cross_references",
    "defines",
    "discourse_type",
    "emotion",
    "entities",
    "evolution_over_time",
    "gaps",
    "get",
    "glossary",
    "intent",
    "key_points",
    "names",
    "pair",
    "phases",
    "questions",
    "questions_the_corpus_answers",
    "quotes_with_speakers",
    "relates",
    "relations",
    "reply",
    "reply_threads",
    "rhetorical_devices",
    "sections",
    "sentiment",
    "stance",
    "style",
    "taxonomy",
    "terms",
    "timeline",
    "topics",
]
_CATALOGUE = {
    found.name: found for name in __all__ if isinstance(found := globals().get(name), Recipe)
}


def names(over: str | None = None) -> list[str]:
    """What there is; `over` is "row", "group" or "corpus"."""
    return [name for name, found in _CATALOGUE.items() if over in (None, found.over)]


def get(name: str) -> Recipe:
    """The recipe of that name. Raises InputError."""
    if name not in _CATALOGUE:
        raise InputError(f"There is no recipe '{name}'.", hint=listing(_CATALOGUE, name))
    return _CATALOGUE[name]
