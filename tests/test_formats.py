"""One pipeline, unchanged, over every wire format."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.conftest import Open
from tests.pipeline import Argument, speeches
from tests.servers import AnthropicServer, GoogleServer, OpenAIServer, serve

SERVERS = {
    "openai": lambda: OpenAIServer(),
    "groq": lambda: OpenAIServer(dialect="groq"),
    "openrouter": lambda: OpenAIServer(dialect="openrouter"),
    "compatible": lambda: OpenAIServer(json_schema=False),
    "prompted": lambda: OpenAIServer(json_schema=False, json_object=False, fenced=True),
    "anthropic": lambda: AnthropicServer(),
    "anthropic-tool": lambda: AnthropicServer(json_schema=False),
    "google": lambda: GoogleServer(),
}


@pytest.mark.parametrize("name", SERVERS)
def test_one_pipeline_over_every_wire_format(name: str, open_session: Open) -> None:
    make: Any = SERVERS[name]
    with serve(make()) as server:
        open_session(fast=server)
        frame = (
            sw.frame(speeches(12))
            .filter(pl.col("id") < 10)
            .with_columns(
                topic=sw.classify("speech", ["fish", "money", "law"]),
                argument=sw.extract("speech", Argument),
                answer=sw.map("Answer briefly: {speech}"),
            )
            .filter(pl.col("argument").is_not_null())
        )
        run = frame.run()
        assert run.errors.is_empty(), run.errors
        table = run.table
        assert table.columns == ["id", "speech", "topic", "argument", "answer"]
        assert table["id"].to_list() == list(range(10))
        assert set(table["topic"]) <= {"fish", "money", "law"}
        assert set(table["argument"].struct.field("stance")) <= {"for", "against"}
        for row in table.iter_rows(named=True):
            assert row["argument"]["evidence"] in row["speech"]
        assert table["answer"].str.len_chars().min() > 0  # type: ignore[operator]
        assert run.metrics.calls >= 30
        assert run.metrics.output_tokens == server.stats.completion_tokens
        assert run.metrics.input_tokens == server.stats.prompt_tokens
