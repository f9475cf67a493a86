"""`rules`: points that people would give: length, code, mathematics, other languages, tools,
pictures, what is asked for. Nothing is learned but each model's curve.

A rule that makes a model unfit (a picture for a model without eyes) is a matter of the request,
not of the prompt's difficulty: the engine checks that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from swath.routing.features import checkable, split, word_count
from swath.routing.graded import Graded
from swath.routing.router import Texts
from swath.routing.shared import Floats, Shared

_REASONING = re.compile(
    r"(?i)\b(prove|derive|step by step|reason|optimi[sz]e|debug|refactor|why)\b"
)
_TOOLS = re.compile(r"(?i)\b(search the web|browse|look up|latest|today|call the|use the tool)\b")
_VISION = re.compile(
    r"(?i)\b(image|picture|photo|screenshot|diagram|chart|figure) (?:above|below)\b"
)
_SMALL_TALK = re.compile(r"(?i)^\s*(hi|hello|hey|thanks|thank you|ok|okay|yes|no)\b")
_EASY = re.compile(
    r"(?i)\b(translate|summari[sz]e|rewrite|paraphrase|classify|list|name|suggest|recommend|write)\b"
)


@dataclass
class Rules(Shared):
    """Each rule that fires adds its points."""

    kind = "rules"
    summary = "points for length, code, mathematics, language, tools; nothing learned"

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        return

    def hardness(self, texts: Texts) -> Floats:
        return np.array([sum(v for _, v in points(p)) for p in texts.prompts], np.float64)

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        found = [(name, value / self.spread) for name, value in points(texts.prompts[0])]
        return sorted(found, key=lambda part: -abs(part[1]))


def points(prompt: str) -> list[tuple[str, float]]:
    """The rules that fire on a prompt, and their points."""
    stem, _ = split(prompt)
    foreign = sum(not c.isascii() and c.isalpha() for c in stem) / max(len(stem), 1)
    fired = [
        ("length", float(np.log1p(word_count(prompt)) / 4)),
        ("a checkable answer", 1.0 if checkable(prompt) else 0.0),
        ("code", 0.5 if "```" in stem or re.search(r"\bdef |\bclass |;\s*\n", stem) else 0.0),
        ("reasoning", 0.5 if _REASONING.search(stem) else 0.0),
        ("tools", 0.5 if _TOOLS.search(stem) else 0.0),
        ("vision", 0.5 if _VISION.search(stem) else 0.0),
        ("another language", 0.5 if foreign > 0.2 else 0.0),
        ("small talk", -1.0 if _SMALL_TALK.match(stem) else 0.0),
        ("everyday writing", -0.5 if _EASY.search(stem) and not checkable(prompt) else 0.0),
    ]
    return [(name, value) for name, value in fired if value]
