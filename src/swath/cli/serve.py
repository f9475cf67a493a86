"""`swath serve`: OpenAI's HTTP interface over the models of the config."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath

if TYPE_CHECKING:
    from swath.gateway.server import Gateway
    from swath.session import Session

EXAMPLES = """Examples:

  swath serve --port 8080

  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python my_app.py

  curl localhost:8080/v1/chat/completions -d '{"model": "auto", "messages":
  [{"role": "user", "content": "Hello"}]}'

There are no keys and no limits of its own: serve other machines only from behind something that has
them.
"""


def serve(
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Where to listen; 0: any free port.")
    ] = 8080,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="0.0.0.0 for other machines to reach it.")
    ] = "127.0.0.1",
    router: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="What `auto` uses: a file of `swath router train`, or default. Else the config's.",
        ),
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Serve the configured models over HTTP, as OpenAI does: chat completions, embeddings, models.

    The model `auto` asks whichever is the cheapest that is good enough. Response headers say which
    answered (x-swath-model), why (x-swath-route), what it cost (x-swath-cost-usd) and whether the
    answer was stored (x-swath-cache).
    """
    from swath.gateway.server import Gateway
    from swath.session import Session

    with Session(config) as session:
        if router is not None:
            from swath.routing.training import load

            load(router)  # a wrong file is better told now than at the first request
            session.models.use_router(router)
        names = _models(session)  # before the first request has to wait for what this reads
        _until_stopped(Gateway(session, host, port), f"Models: {names}")
    console.note("Stopped.")


def _models(session: Session) -> str:
    names = list(session.models)
    problem = session.engine.routing.problem("auto") or _trial(session)
    return ", ".join(names) + (f". No auto: {problem}" if problem else ", auto")


def _trial(session: Session) -> str:
    """What is not installed for `auto` to decide, found by one decision; "" where all is there."""
    from swath.errors import MissingExtra, SwathError, WeightsError
    from swath.messages import Message, Request

    try:
        session.call(
            session.engine.decide(Request(model="auto", messages=(Message("user", "Hello"),)))
        )
    except (MissingExtra, WeightsError) as error:
        return str(error)
    except SwathError:
        return ""  # a provider of embeddings that is out for now
    return ""


def _until_stopped(gateway: Gateway, told: str) -> None:
    """Until SIGTERM or Ctrl-C; answers under way are finished. Where it serves is said only once
    it can be stopped so."""

    def stop(*_: Any) -> None:
        gateway.ask_to_stop()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        console.say(f"Serving at {gateway.url} (Ctrl-C stops).")
        console.note(told)
        gateway.wait()
    except KeyboardInterrupt:
        console.note("Finishing what is under way; Ctrl-C again to leave at once.")
        gateway.stop()
    finally:
        signal.signal(signal.SIGTERM, before)
