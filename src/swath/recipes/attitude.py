"""How a text stands to things: feelings, aims, manner. Labels, each with what it means."""

from __future__ import annotations

from swath.operators.sentiment import LABELS
from swath.recipes.recipe import Parameter, Row

sentiment = Row(
    name="sentiment",
    about="Positive, negative or neutral.",
    instructions="Choose the sentiment of the text.",
    labels=LABELS,
)
emotion = Row(
    name="emotion",
    about="The emotion that is strongest.",
    instructions="Choose the emotion that the author shows most.",
    labels={
        "anger": "outrage, blame, indignation",
        "fear": "worry, warning, alarm",
        "sadness": "grief, regret, disappointment",
        "joy": "gladness, gratitude, pride",
        "hope": "confidence that things will get better",
        "surprise": "something was not expected",
        "none": "a sober report",
    },
)
stance = Row(
    name="stance",
    about="For, against, mixed, or silent about a given target.",
    instructions="Choose how the author stands towards {target}.",
    labels={
        "for": "supports, defends or asks for it",
        "against": "rejects, attacks or warns of it",
        "mixed": "sees good and bad in it",
        "none": "says nothing about it",
    },
    parameters={"target": Parameter("what the stance is towards", sample="the new bridge")},
)
intent = Row(
    name="intent",
    about="What the author wants to bring about.",
    instructions="Choose what the author mainly wants to do.",
    labels={
        "inform": "tell facts or news",
        "persuade": "win the reader for a view",
        "request": "ask that something be done",
        "ask": "get an answer to a question",
        "thank": "thank, praise or congratulate",
        "complain": "say that something went wrong",
    },
)
style = Row(
    name="style",
    about="The manner of writing.",
    instructions="Choose the style in which the text is written.",
    labels={
        "formal": "official, polite, by the rules",
        "technical": "terms of a trade, figures, procedures",
        "conversational": "as people talk",
        "emotional": "exclamations, strong words",
        "ironic": "says the opposite of what is meant, mocks",
        "narrative": "tells a story",
    },
)
discourse_type = Row(
    name="discourse_type",
    about="What kind of text it is.",
    instructions="Choose what kind of text this is.",
    labels={
        "argument": "gives reasons for a view",
        "narration": "tells what happened, in order",
        "description": "says how something is or looks",
        "explanation": "makes clear how or why something works",
        "instruction": "says what to do, step by step",
        "dialogue": "two or more people speak in turn",
    },
)
