"""Prices and context windows of hosted models, offline."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import pytest

from swath.catalog import prices
from swath.catalog.model import Price


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SWATH_CACHE_DIR", str(tmp_path))
    forget()
    yield
    forget()


def forget():
    prices._catalogue.cache_clear()
    prices._by_name.cache_clear()
    prices.find.cache_clear()


@pytest.mark.parametrize(
    ("provider", "id", "price", "window"),
    [
        ("openai", "gpt-4.1-nano", (0.10, 0.40, 0.025), 1_000_000),
        ("openai", "gpt-4.1-nano-2025-04-14", (0.10, 0.40, 0.025), 1_000_000),
        ("openai", "gpt-4o-mini", (0.15, 0.60, 0.075), 128_000),
        ("openai", "text-embedding-3-small", (0.02, 0.0, None), 8_192),
        ("anthropic", "claude-haiku-4-5", (1.0, 5.0, 0.1), 200_000),
        ("anthropic", "claude-haiku-4-5-20251001", (1.0, 5.0, 0.1), 200_000),
        ("google", "gemini-2.5-flash", (0.30, 2.50, 0.03), 1_048_576),
        ("vertex", "gemini-2.5-flash", (0.30, 2.50, 0.03), 1_048_576),
        ("groq", "llama-3.1-8b-instant", (0.05, 0.08, None), 131_072),
        ("openrouter", "openai/gpt-4o", (2.50, 10.0, 1.25), 128_000),
    ],
)
def test_well_known_models(provider, id, price, window):
    found = prices.price(provider, id)
    assert (found.input, found.output, found.cached_input) == price
    assert prices.context_window(provider, id) == window


def test_a_price_by_length_is_its_base_tier():
    assert prices.price("google", "gemini-2.5-pro").input == 1.25
    assert prices.context_window("google", "gemini-2.5-pro") == 1_048_576


def test_what_costs_nothing_and_what_is_unknown():
    free = Price(input=0.0, output=0.0)
    assert prices.price("local", "any") == free
    assert prices.price("openrouter", "meta-llama/llama-3.3-70b-instruct:free") == free
    assert prices.price("openrouter", "some/new-model:free") == free
    assert prices.price("openai", "whatever-9") is None
    assert prices.context_window("openai", "whatever-9") is None


def test_an_own_url_decides_whose_price_holds():
    official = "https://api.openai.com/v1"
    assert prices.price("openai", "gpt-4o", official) == prices.price("openai", "gpt-4o")
    assert prices.price("openai", "gpt-oss-20b", "http://localhost:11434/v1") is None
    elsewhere = prices.price("openai", "deepseek-chat", "https://api.deepseek.com/v1")
    assert elsewhere is not None
    assert elsewhere.input > 0


def test_most_output_where_known():
    assert prices.max_output("openai", "gpt-4.1-nano") == 32_768
    assert prices.max_output("anthropic", "claude-haiku-4-5") == 64_000
    assert prices.max_output("groq", "nothing-such") is None


def test_the_date_is_one_of_the_past():
    assert date(2025, 1, 1) < date.fromisoformat(prices.catalogue_date()) <= date.today()
    assert prices.catalogue_source().startswith("genai-prices ")
    assert prices.catalogue_date() in prices.catalogue_source()


def test_search():
    everything = prices.entries()
    assert len(everything) > 300
    assert {e.provider for e in everything} == {
        "openai",
        "anthropic",
        "google",
        "groq",
        "openrouter",
    }
    cheap = prices.search("gpt", provider="openai", max_price=0.2, min_context=100_000)
    assert "gpt-4.1-nano" in [e.id for e in cheap]
    assert all(e.price.input <= 0.2 and e.context_window >= 100_000 for e in cheap)
    assert cheap == sorted(cheap, key=lambda e: (e.price.input, e.id))
    free = prices.search(provider="openrouter", free=True)
    assert free
    assert all(e.price == Price(input=0.0, output=0.0) for e in free)
    vectors = prices.search(modality="embedding", provider="openai")
    assert {e.id for e in vectors} >= {"text-embedding-3-small", "text-embedding-3-large"}


def test_the_extract_is_kept_and_read_back(tmp_path):
    before = prices.entries()
    (kept,) = tmp_path.glob("prices-*.msgpack")
    forget()
    assert prices.entries() == before
    kept.write_bytes(b"not msgpack")
    forget()
    assert prices.entries() == before


def test_a_folder_that_cannot_be_written_is_no_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWATH_CACHE_DIR", str(tmp_path / "file"))
    assert prices.price("openai", "gpt-4o-mini").input == 0.15


def test_the_kept_extract_spares_the_import(tmp_path):
    prices.entries()
    code = (
        "import sys; from swath.catalog import prices; "
        "assert prices.price('openai', 'gpt-4o-mini').input == 0.15; "
        "assert 'genai_prices' not in sys.modules and 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
