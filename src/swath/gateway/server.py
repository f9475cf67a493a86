"""Serving the app: uvicorn on the session's own loop, so that an answer crosses no thread."""

from __future__ import annotations

import concurrent.futures
import socket
from types import TracebackType
from typing import TYPE_CHECKING

from swath import waiting
from swath.errors import MissingExtra, OutputError
from swath.gateway.app import MAX_BODY, App
from swath.session import Session

if TYPE_CHECKING:
    import uvicorn

GRACE = 15.0  # seconds that answers under way have, once the server is to stop


class Gateway:
    """A server that runs until `stop`; `url` is where. Use it as a context, or `wait` for its end.

    Raises OutputError where the address cannot be had, MissingExtra.
    """

    def __init__(
        self,
        session: Session,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        grace: float = GRACE,
        max_body: int = MAX_BODY,
    ) -> None:
        try:
            import uvicorn
        except ModuleNotFoundError:
            raise MissingExtra("swath serve", "serve") from None
        listening = _listen(host, port)
        self.host, self.port = host, listening.getsockname()[1]
        config = uvicorn.Config(
            App(session, max_body=max_body),
            http="h11",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=max(round(grace), 1),
        )
        self._server: uvicorn.Server = uvicorn.Server(config)
        self._ended: concurrent.futures.Future[None] = session.submit(
            self._server.serve(sockets=[listening])
        )

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def wait(self, timeout: float | None = None) -> None:
        """Until it has stopped. Ctrl-C is raised, and leaves it running."""
        waiting.result(self._ended, timeout)

    def ask_to_stop(self) -> None:
        """Take no more requests, and end once those under way are answered."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self.ask_to_stop()
        self.wait()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise OutputError(
            f"Nothing can be served at {host}:{port}: {getattr(error, 'strerror', '') or error}.",
            hint="Give another --port, or another --host.",
        ) from None
