"""What a user can get wrong: each mistake is one clear line on stderr, with the stated status.

A case writes its files, runs a command, and says which words the line must hold: what is at fault,
what exists, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.cli_kit import Cli, cli
from tests.servers import OpenAIServer, serve

__all__ = ["cli"]
LABELS = ("-c", "text", "--classify", "card,loan")
FAST = '[models.fast]\nprovider = "openai"\nmodel = "gpt-4.1-nano"\n'


@dataclass(frozen=True)
class Case:
    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    status: int = 1
    files: dict[str, str | bytes] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def enrich(*arguments: str, source: str = "tickets.csv") -> tuple[str, ...]:
    return ("enrich", source, *arguments)


def configured(text: str) -> dict[str, str | bytes]:
    return {"swath.toml": text}


CASES = [
    # -- the table
    Case(
        "missing file",
        enrich(*LABELS, source="tickts.csv"),
        ("There is no file 'tickts.csv'", "Did you mean 'tickets.csv'?"),
    ),
    Case("a folder", enrich(*LABELS, source="."), ("'.' has no known ending",)),
    Case(
        "unknown ending",
        enrich(*LABELS, source="tickets.xml"),
        ("'tickets.xml' has no known ending", ".parquet"),
        files={"tickets.xml": "<a/>"},
    ),
    Case(
        "empty file",
        enrich(*LABELS, source="none.csv"),
        ("'none.csv' is empty",),
        files={"none.csv": ""},
    ),
    Case(
        "more fields than the header",
        enrich(*LABELS, source="bad.csv"),
        ("'bad.csv'", "line 3", "3 fields where the header has 2"),
        files={"bad.csv": "id,text\n1,fine\n2,not,fine\n"},
    ),
    Case(
        "broken JSON line",
        enrich(*LABELS, source="bad.jsonl"),
        ("'bad.jsonl'", "line 2"),
        files={"bad.jsonl": '{"text": "fine"}\n{"text": \n'},
    ),
    Case(
        "lines in a .json file",
        enrich(*LABELS, source="bad.json"),
        ("'bad.json'",),
        files={"bad.json": '{"text": "a"}\n{"text": "b"}\n'},
    ),
    Case(
        "not UTF-8",
        enrich(*LABELS, source="latin.csv"),
        ("'latin.csv'", "line 2", "not UTF-8", "iconv"),
        files={"latin.csv": "text\nça va\n".encode("latin-1")},
    ),
    Case(
        "not a Parquet file",
        enrich(*LABELS, source="bad.parquet"),
        ("'bad.parquet'", "Parquet"),
        files={"bad.parquet": b"PAR1 no, not really"},
    ),
    Case(
        "missing column",
        enrich("-c", "txt", "--classify", "card,loan"),
        ("'txt'", "Did you mean 'text'?", "id, text"),
    ),
    Case(
        "template with an unknown column",
        enrich("--map", "Answer {txt}"),
        ("'txt'", "Did you mean 'text'?"),
    ),
    Case("template with an open brace", enrich("--map", "Answer {text"), ("{", "}")),
    Case("unknown column in --where", enrich(*LABELS, "--where", "nope = 1"), ("'nope'", "text")),
    Case("--where that is no SQL", enrich(*LABELS, "--where", "id = = 1"), ("--where",)),
    Case("the column is there already", enrich(*LABELS, "--name", "id"), ("'id'", "--name")),
    # -- the schema and the labels
    Case(
        "missing schema",
        enrich("-c", "text", "--extract", "nowhere.py:Triage"),
        ("'nowhere.py' cannot be read: No such file",),
    ),
    Case(
        "schema with a syntax error",
        enrich("-c", "text", "--extract", "bad.py:Triage"),
        ("'bad.py' is not valid Python", "line 2"),
        files={"bad.py": "x = 1\nclass Triage(:\n"},
    ),
    Case(
        "schema that cannot be imported",
        enrich("-c", "text", "--extract", "bad.py:Triage"),
        ("'bad.py' cannot be imported", "ModuleNotFoundError", "nothing_like_this"),
        files={"bad.py": "import nothing_like_this\n"},
    ),
    Case(
        "no such class",
        enrich("-c", "text", "--extract", "schema.py:Triag"),
        ("has no class 'Triag'", "Did you mean 'Triage'?"),
    ),
    Case(
        "no class named",
        enrich("-c", "text", "--extract", "schema.py"),
        ("names no class", "schema.py:Triage"),
    ),
    Case(
        "a class that is no schema",
        enrich("-c", "text", "--extract", "odd.py:Odd"),
        ("Odd",),
        files={"odd.py": "class Odd:\n    pass\n"},
    ),
    Case(
        "broken JSON schema",
        enrich("-c", "text", "--extract", "bad.json"),
        ("'bad.json' is not valid JSON", "line 1"),
        files={"bad.json": '{"type": '},
    ),
    Case(
        "JSON schema of no object",
        enrich("-c", "text", "--extract", "bad.json"),
        ("no object with properties",),
        files={"bad.json": '{"type": "string"}'},
    ),
    Case(
        "schema of another kind",
        enrich("-c", "text", "--extract", "tickets.csv"),
        ("neither Python nor JSON", "schema.py:Answer"),
    ),
    Case("one label", enrich("-c", "text", "--classify", "card"), ("two labels",)),
    Case("a label twice", enrich("-c", "text", "--classify", "card,card"), ("twice",)),
    # -- the model and the config
    Case(
        "unknown model",
        enrich(*LABELS, "--model", "fats"),
        ("There is no model 'fats'", "Did you mean 'fast'?"),
    ),
    Case(
        "config that is not TOML",
        enrich(*LABELS),
        ("swath.toml' is not valid TOML", "line 1"),
        files=configured("[models.fast\n"),
    ),
    Case(
        "unknown key in the config",
        enrich(*LABELS),
        ("unknown key 'rmp'", "Did you mean 'rpm'?"),
        files=configured(FAST + "rmp = 500\n"),
    ),
    Case(
        "unknown key at the top",
        enrich(*LABELS),
        ("unknown key 'stor'", "Did you mean 'store'?"),
        files=configured('stor = "x"\n' + FAST),
    ),
    Case(
        "value of the wrong type",
        enrich(*LABELS),
        ("models.fast.rpm",),
        files=configured(FAST + 'rpm = "many"\n'),
    ),
    Case(
        "unknown provider",
        enrich(*LABELS),
        ("unknown provider 'opena'", "Did you mean 'openai'?"),
        files=configured('[models.fast]\nprovider = "opena"\nmodel = "x"\n'),
    ),
    Case(
        "default model that is none",
        enrich(*LABELS),
        ("default_model 'slow'", "fast"),
        files=configured('default_model = "slow"\n' + FAST),
    ),
    Case(
        "missing key",
        enrich(*LABELS),
        ("The key of openai for the model 'fast' is not set", "OPENAI_API_KEY", ".env"),
        files=configured(FAST),
    ),
    Case(
        "config that is not there",
        enrich(*LABELS, "--config", "nowhere.toml"),
        ("'nowhere.toml' cannot be read: No such file",),
    ),
    Case(
        "config named by the environment",
        enrich(*LABELS),
        ("'gone.toml' cannot be read", "SWATH_CONFIG"),
        env={"SWATH_CONFIG": "gone.toml"},
    ),
    Case(
        ".env that is not UTF-8",
        enrich(*LABELS),
        (".env' cannot be read as UTF-8",),
        files={".env": b"KEY=\xff\xfe\n"},
    ),
    # -- money
    Case(
        "budget without a price",
        enrich(*LABELS, "--max-cost", "1"),
        ("No price is known for 'fast'", "price ="),
        files=configured('[models.fast]\nprovider = "openai"\nmodel = "own"\nbase_url = "URL"\n'),
    ),
    # -- where it goes
    Case(
        "missing output folder",
        enrich(*LABELS, "-o", "nowhere/out.csv"),
        ("There is no folder 'nowhere'", "mkdir -p nowhere"),
    ),
    Case(
        "unknown output ending",
        enrich(*LABELS, "-o", "out.xlsx"),
        ("'out.xlsx' has no known ending", ".csv"),
    ),
    Case("output that is a folder", enrich(*LABELS, "-o", "dir.csv"), ("'dir.csv' is a folder",)),
    Case(
        "output over the input",
        enrich(*LABELS, "-o", "tickets.csv"),
        ("'tickets.csv' is the input itself",),
    ),
    Case(
        "report in a missing folder",
        enrich(*LABELS, "--report", "nowhere/run.json"),
        ("There is no folder 'nowhere'",),
    ),
    Case(
        "store that cannot be written",
        enrich(*LABELS),
        ("The store '", "cannot be opened", "SWATH_STORE"),
        env={"SWATH_STORE": "sqlite:///tickets.csv/swath.db"},
    ),
    Case(
        "store of an unknown kind",
        enrich(*LABELS),
        ("The store 'mysql://…' is not known", "sqlite:///"),
        env={"SWATH_STORE": "mysql://x"},
    ),
    # -- the command line itself
    Case("no command of that name", ("enrch",), ("enrch", "swath --help"), status=2),
    Case("no option of that name", enrich(*LABELS, "--modle", "x"), ("--modle",), status=2),
    Case("no input", ("enrich",), ("Missing argument", "swath enrich --help"), status=2),
    Case("no operator", enrich("-c", "text"), ("exactly one of --extract",), status=2),
    Case("two operators", enrich(*LABELS, "--map", "{text}"), ("exactly one of",), status=2),
    Case("no column", enrich("--classify", "a,b"), ("--column",), status=2),
    Case("limit of nothing", enrich(*LABELS, "--limit", "0"), ("'--limit'", "1"), status=2),
    Case("limit that is no number", enrich(*LABELS, "--limit", "ten"), ("'--limit'",), status=2),
    Case("negative budget", enrich(*LABELS, "--max-cost", "-1"), ("--max-cost",), status=2),
    # -- the other commands
    Case(
        "catalogue without that provider",
        ("models", "--provider", "opnai"),
        ("no provider 'opnai'", "Did you mean 'openai'?"),
    ),
    Case("no such modality", ("models", "--modality", "smell"), ("no modality 'smell'", "image")),
    Case(
        "no such weights",
        ("models", "pull", "smollm"),
        ("There is no local model 'smollm'", "smollm2-135m"),
    ),
    Case("demo over an unknown model", ("demo", "--model", "slow"), ("There is no model 'slow'",)),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that answers: what is wrong is elsewhere."""
    with serve(OpenAIServer()) as server:
        yield server.base_url


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_one_clear_line(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    cli.config(url)
    (cli.folder / "dir.csv").mkdir()
    for name, text in case.files.items():
        cli.write(name, text.replace("URL", url) if isinstance(text, str) else text)
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    done = cli(*case.arguments)
    assert_clear(done.status, done.out, done.err, case)
    assert not (cli.folder / "out.csv").exists()


def assert_clear(status: int, out: str, err: str, case: Case) -> None:
    lines = err.splitlines()
    assert status == case.status, err
    assert out == ""
    assert [line for line in lines if line.startswith("error: ")] == [lines[-1]], err
    assert "Traceback" not in err
    assert "bug" not in lines[-1]
    for words in case.says:
        assert words in lines[-1]


def test_refused_key_names_the_variable_and_never_the_key(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-wrong-and-secret")
    with serve(OpenAIServer(keys=frozenset({"sk-right"}))) as server:
        cli.config(server.base_url, api_key_env='"MY_KEY"')
        done = cli(*enrich(*LABELS))
        assert_clear(done.status, done.out, done.err, Case("", (), ("openai refused", "MY_KEY")))
        loud = cli(*enrich(*LABELS), "--debug")
    assert "secret" not in done.err + loud.err


def test_unknown_model_at_the_provider_ends_the_run(cli: Cli) -> None:
    many = "text\n" + "".join(f"row number {i}\n" for i in range(50))
    cli.write("many.csv", many)
    with serve(OpenAIServer(models=("another",))) as server:
        cli.config(server.base_url, concurrency=4)
        done = cli(*enrich(*LABELS, source="many.csv"))
        assert server.stats.received <= 8  # the next row would fail in the same way
    assert_clear(done.status, "", done.err, Case("", (), ("'fast'",)))


def test_unreachable_server_is_told_at_once(cli: Cli) -> None:
    cli.config("http://127.0.0.1:9/v1")
    done = cli(*enrich(*LABELS, "-o", "out.csv"))
    says = ("'fast' cannot be reached at", "http://127.0.0.1:9/v1", "swath doctor")
    assert_clear(done.status, done.out, done.err, Case("", (), says))


def test_output_that_cannot_be_written(cli: Cli) -> None:
    done = cli(*enrich(*LABELS, "-o", "/proc/out.csv"))
    assert_clear(done.status, done.out, done.err, Case("", (), ("/proc/out.csv",)))


def test_calls_of_an_unknown_run(cli: Cli) -> None:
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        assert cli(*enrich(*LABELS)).status == 0
    done = cli("calls", "--run", "zzz")
    assert_clear(done.status, done.out, done.err, Case("", (), ("no run 'zzz'", "There are: ")))
