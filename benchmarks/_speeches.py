"""Made-up data for the benchmarks: speeches of 1,000 characters, and what to read from them."""

from __future__ import annotations

import json
import random
from typing import Literal

from pydantic import BaseModel, Field

EVIDENCE = (
    "In the last three years the share of freight on rail fell from 19 to 17 per cent, and no "
    "corridor was finished on time."
)
ANSWER = json.dumps(
    {
        "claim": "The Union should fund cross-border rail before it funds more motorways.",
        "stance": "for",
        "evidence": EVIDENCE,
    }
)
_WORDS = """
the of and to in that we this is for not it have must our with on be will are as has by from member
states commission parliament council report citizens market energy climate budget regulation
directive amendment support therefore however proposal transport agreement policy rights workers
regions investment farmers industry security borders crisis measures progress
"""


class Argument(BaseModel):
    """One argument of a speech."""

    claim: str = Field(description="What the speaker wants, in one sentence")
    stance: Literal["for", "against", "neutral"] = Field(description="On the motion at hand")
    evidence: str = Field(description="The sentence of the speech that bears the claim best")


def speeches(rows: int, seed: int = 7) -> list[str]:
    """`rows` distinct texts of 1,000 characters; each holds EVIDENCE somewhere."""
    draw, vocabulary = random.Random(seed), _WORDS.split()
    out = []
    for i in range(rows):
        words = " ".join(draw.choices(vocabulary, k=190))
        at = draw.randrange(0, 700)
        text = f"Mr President, point {i}. {words[:at]}. {EVIDENCE} {words[at:]}"
        out.append(text[:999] + ".")
    return out
