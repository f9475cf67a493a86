"""The providers' own clients are content with the servers. Skipped where not installed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.servers import AnthropicServer, Fault, GoogleServer, OpenAIServer, serve


class Note(BaseModel):
    topic: str
    score: int
    tags: list[str]


ASK: Any = [{"role": "user", "content": "The sky is blue. Take a note."}]


def test_openai_sdk() -> None:
    openai: Any = pytest.importorskip("openai")
    with serve(OpenAIServer(keys=frozenset({"sk-1"}))) as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="sk-1", max_retries=0)
        parsed = client.chat.completions.parse(
            model="gpt-4.1-nano", messages=ASK, response_format=Note
        )
        assert isinstance(parsed.choices[0].message.parsed, Note)
        assert parsed.usage.prompt_tokens_details.cached_tokens == 0
        stream = client.chat.completions.create(
            model="gpt-4.1-nano", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert chunks[-1].usage.total_tokens > 0
        tool = openai.pydantic_function_tool(Note, name="note")
        with client.chat.completions.stream(
            model="gpt-4.1-nano", messages=ASK, tools=[tool]
        ) as events:
            final = events.get_final_completion()
        assert final.choices[0].message.tool_calls[0].function.name == "note"
        found = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        assert len(found.data) == 2  # the SDK asks for base64
        assert [m.id for m in client.models.list()]
        server.faults = [Fault("429", times=1), Fault("quota", times=1), Fault("stream_error")]
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="gpt-4.1-nano", messages=ASK)
        with pytest.raises(openai.RateLimitError, match="quota"):
            client.chat.completions.create(model="gpt-4.1-nano", messages=ASK)
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(model="x", messages=ASK, stream=True))
        wrong = openai.OpenAI(base_url=server.base_url, api_key="sk-2", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()


def test_groq_sdk() -> None:
    groq: Any = pytest.importorskip("groq")
    with serve(OpenAIServer(dialect="groq")) as server:
        client = groq.Groq(base_url=server.url, api_key="gsk_1", max_retries=0)
        said = client.chat.completions.create(model="llama-3.1-8b-instant", messages=ASK)
        assert said.x_groq.id
        stream = client.chat.completions.create(
            model="llama-3.1-8b-instant", messages=ASK, stream=True
        )
        assert [chunk.x_groq for chunk in stream if chunk.x_groq][-1].usage.total_tokens > 0


def test_anthropic_sdk() -> None:
    anthropic: Any = pytest.importorskip("anthropic")
    with serve(AnthropicServer(keys=frozenset({"sk-ant-1"}))) as server:
        client = anthropic.Anthropic(base_url=server.base_url, api_key="sk-ant-1", max_retries=0)
        asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": ASK}
        reply = client.messages.create(**asked)
        assert reply.content[0].text
        assert reply.usage.cache_read_input_tokens == 0
        parsed = client.messages.parse(**asked, output_format=Note)
        assert isinstance(parsed.parsed_output, Note)
        with client.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == reply.content[0].text
            assert stream.get_final_message().usage.output_tokens == reply.usage.output_tokens
        tools = [{"name": "note", "input_schema": Note.model_json_schema()}]
        with client.messages.stream(**asked, tools=tools) as stream:
            final = stream.get_final_message()
        assert final.stop_reason == "tool_use"
        assert Note.model_validate(final.content[0].input)
        assert client.messages.count_tokens(model="m", messages=ASK).input_tokens > 0
        assert [m.id for m in client.models.list()]
        server.faults = [Fault("429", times=1), Fault("529", times=1), Fault("stream_error")]
        with pytest.raises(anthropic.RateLimitError):
            client.messages.create(**asked)
        with pytest.raises(anthropic.InternalServerError):
            client.messages.create(**asked)
        with pytest.raises(anthropic.APIStatusError), client.messages.stream(**asked) as stream:
            stream.until_done()
        wrong = anthropic.Anthropic(base_url=server.base_url, api_key="no", max_retries=0)
        with pytest.raises(anthropic.AuthenticationError):
            wrong.messages.create(**asked)


def test_google_sdk() -> None:
    genai: Any = pytest.importorskip("google.genai")
    with serve(GoogleServer(keys=frozenset({"AIza-1"}))) as server:
        options = {"base_url": server.base_url}
        client = genai.Client(api_key="AIza-1", http_options=options, vertexai=False)
        model = "gemini-2.5-flash"
        reply = client.models.generate_content(model=model, contents="The sky is blue.")
        assert reply.text
        assert reply.usage_metadata.total_token_count > 0
        config = {"response_mime_type": "application/json", "response_schema": Note}
        noted = client.models.generate_content(model=model, contents="A note.", config=config)
        assert isinstance(noted.parsed, Note)
        parts = client.models.generate_content_stream(model=model, contents="The sky is blue.")
        assert "".join(part.text or "" for part in parts) == reply.text
        declared = {"name": "note", "parameters_json_schema": Note.model_json_schema()}
        tools = [{"function_declarations": [declared]}]
        called = client.models.generate_content(
            model=model, contents="A note.", config={"tools": tools}
        )
        assert Note.model_validate(called.function_calls[0].args)
        found = client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
        assert len(found.embeddings) == 2
        assert client.models.count_tokens(model=model, contents="abcd").total_tokens == 1
        assert [m.name for m in client.models.list()]
        server.faults = [Fault("429", times=1)]
        with pytest.raises(genai.errors.ClientError, match="RESOURCE_EXHAUSTED"):
            client.models.generate_content(model=model, contents="x")
