"""llama.cpp's server, in this process: one a model file and settings, loaded once, kept.

xllamacpp runs the server on threads of its own and answers calls directly. What it has no call for
(tokens, the chat template) is asked over the server's own HTTP, on a socket that only this user
can reach.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from swath.errors import ConfigError, Kind, MissingExtra, ProviderError, WeightsError
from swath.local.slots import Slots

CONTEXT = 8192  # tokens a slot holds, where memory allows
BATCH = 256  # tokens read at once: a cancelled call ends at the next batch
DEBUG = "SWATH_DEBUG"


class Settings(msgspec.Struct, frozen=True):
    """How a model is run. `context` is the tokens of one slot; `gpu_layers` -1 means all."""

    slots: int = 4
    threads: int = 0  # 0: one a physical core
    context: int = 0  # 0: CONTEXT, or what memory allows
    gpu_layers: int = -1
    adapter: str = ""  # the path of a GGUF LoRA file, applied to the model's weights


def settings(options: Mapping[str, Any]) -> Settings:
    """From a model's options. Raises ConfigError that names the option."""
    try:
        known = {k: v for k, v in options.items() if k in Settings.__struct_fields__}
        chosen = msgspec.convert(known, Settings)
    except msgspec.ValidationError as e:
        raise ConfigError(
            f"A local model's options are not right: {e}.",
            hint="slots, threads, context and gpu_layers are whole numbers, adapter is a path.",
        ) from None
    return msgspec.structs.replace(chosen, slots=max(chosen.slots, 1))


def window(chosen: Settings) -> int:
    """Tokens that one slot holds, prompt and answer together."""
    return chosen.context or _affordable(chosen.slots)


class Server:
    """One loaded model. Threads may call it at once; `slots` says who computes next."""

    def __init__(self, path: Path, chosen: Settings) -> None:
        self.path = path
        self.context = window(chosen)
        self._folder = tempfile.TemporaryDirectory(prefix="swath-")
        self._key = secrets.token_hex(16)
        self._native: Any = _start(path, chosen, self.context, self._folder.name, self._key)
        self.slots = Slots(chosen.slots)
        self.memory: dict[Any, Any] = {}  # what callers computed once for this model
        self.lock = threading.Lock()  # for `memory`

    def chat(
        self, body: Mapping[str, Any], on_event: Callable[[dict[str, Any]], bool], *, raw: bool
    ) -> None:
        """Ask, and hear every event until `on_event` returns True. `raw`: a prompt of tokens."""
        ask = self._native.handle_completions if raw else self._native.handle_chat_completions
        failure: list[BaseException] = []

        def hear(event: dict[str, Any]) -> bool:
            # An exception must not cross the native frames.
            try:
                return on_event(event)
            except BaseException as e:
                failure.append(e)
                return True

        ask(dict(body), hear)
        if failure:
            raise failure[0]

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of `text`; `special`: names like <|im_end|> count as the tokens they name."""
        asked = {"content": text, "add_special": special, "parse_special": special}
        return list(self._post("/tokenize", asked)["tokens"])

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> str:
        """The messages as the model's chat template renders them."""
        asked: dict[str, Any] = {
            "messages": messages,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        if tools:
            asked["tools"] = tools
        return str(self._post("/apply-template", asked)["prompt"])

    @cached_property
    def end_of_turn(self) -> int:
        """The token with which the model ends its turn."""
        return self.tokens(str(self._about["eos_token"]), special=True)[-1]

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the model's chat template has a place for tools."""
        return bool(self._about.get("chat_template_caps", {}).get("supports_tools"))

    @cached_property
    def _about(self) -> dict[str, Any]:
        return dict(self._http("GET", "/props", b""))

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._http("POST", path, json.dumps(body).encode())

    def _http(self, method: str, path: str, body: bytes) -> Any:
        connection = _connect(self._native.listening_address)
        try:
            headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
            connection.request(method, path, body, headers)
            reply = json.loads(connection.getresponse().read())
        except OSError as e:
            raise ProviderError(
                Kind.SERVER, f"llama.cpp's socket does not answer ({type(e).__name__})."
            ) from None
        finally:
            connection.close()
        if "error" in reply:
            raise failed(reply["error"])
        return reply

    def close(self) -> None:
        """Stop computing and free the memory. Calls under way end as cancelled."""
        if self.slots.close():
            self._native = None
        self._folder.cleanup()


def failed(error: Mapping[str, Any]) -> ProviderError:
    """The library's error object as ours. Its messages hold no text of the prompt."""
    kind, code = str(error.get("type", "")), error.get("code")
    message = str(error.get("message", "unknown error"))
    if kind == "exceed_context_size_error" or "context size" in message.lower():
        needed, window = error.get("n_prompt_tokens"), error.get("n_ctx")
        told = f" ({needed} tokens, room for {window})" if needed and window else ""
        return ProviderError(
            Kind.CONTEXT,
            f"the text is longer than the model's context window{told}.",
            hint="Raise the option 'context' of this model, or split the text.",
        )
    if kind == "not_supported_error":
        return ProviderError(Kind.UNSUPPORTED, message)
    if kind == "invalid_request_error" or code == 400:
        # The first line: a grammar or template would follow.
        return ProviderError(Kind.BAD_REQUEST, message.splitlines()[0][:200] or "refused.")
    if kind == "unavailable_error" or code == 503:
        return ProviderError(Kind.OVERLOADED, message)
    return ProviderError(Kind.SERVER, message.splitlines()[0][:200] if message else "it failed.")


# --- one a process

_servers: dict[tuple[Path, Settings], Server] = {}
_loading = threading.Lock()


def server(path: Path, chosen: Settings) -> Server:
    """The model at `path`, loaded when first asked for. Blocks while it loads."""
    key = (path.resolve(), chosen)
    with _loading:
        found = _servers.get(key)
        if found is None:
            found = _servers[key] = Server(path, chosen)
        return found


def close_all() -> None:
    """Free every loaded model. Also runs when the process ends, before the interpreter goes."""
    with _loading:
        for one in _servers.values():
            one.close()
        _servers.clear()


atexit.register(close_all)


# --- the native part


def _start(path: Path, chosen: Settings, context: int, folder: str, key: str) -> Any:
    # OpenMP's threads spin while they wait, which starves everything else on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import xllamacpp
    except ImportError:
        raise MissingExtra("The local model", "local") from None
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = chosen.slots
    params.n_ctx = context * chosen.slots
    params.n_batch = BATCH
    params.n_gpu_layers = chosen.gpu_layers
    threads = chosen.threads or _physical_cores()
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    if chosen.adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(chosen.adapter, 1.0)]
    params.warmup = False
    params.fit_params = False
    params.cache_ram_mib = 0  # `Slots` sends a prompt to the slot that knows its beginning
    params.ui = False
    params.api_keys = [key]
    params.hostnames = ["127.0.0.1" if sys.platform == "win32" else f"{folder}/llama.sock"]
    params.verbosity = 3 if os.environ.get(DEBUG) else -1
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        raise WeightsError(
            f"llama.cpp cannot load '{path}'.",
            hint="Is it a whole GGUF file, and is there memory for it? "
            f"Set {DEBUG}=1 to see what llama.cpp says.",
        ) from None


def _physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once where the system tells."""
    if sys.platform == "linux":
        allowed = os.sched_getaffinity(0)
        cores = set()
        for cpu in allowed:
            try:
                sibling = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
                cores.add(sibling.read_text().strip())
            except OSError:
                return len(allowed)
        return max(len(cores), 1)
    return max((os.cpu_count() or 2) // (1 if sys.platform == "darwin" else 2), 1)


def _affordable(slots: int) -> int:
    """Tokens a slot: less on a small machine, since each costs 12 to 30 kB."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return CONTEXT
    return CONTEXT if free > slots * (CONTEXT * 30_000) + 1.5e9 else CONTEXT // 2


class _Local(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connect(address: str) -> http.client.HTTPConnection:
    scheme, _, place = address.partition("://")
    if scheme == "unix":
        return _Local(place)
    return http.client.HTTPConnection(place, timeout=60)
