"""What `swath router train` says at its end: what was learned from, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swath.cli import console
from swath.cli.router_calibrate import pair_of

if TYPE_CHECKING:
    from swath.config import Config
    from swath.routing.graded import Graded
    from swath.routing.router import Learned

SHOWN = 12  # models whose mean is shown


def means(graded: Graded) -> list[str]:
    """Each model's mean, the best first; and what a router could save at most, of two."""
    import numpy as np

    mean = np.nanmean(graded.quality, axis=0)
    known = np.isfinite(graded.quality).sum(axis=0)
    order = np.argsort(-mean, kind="stable")
    wide = max(len(graded.models[i]) for i in order[:SHOWN])
    lines = [
        f"  {graded.models[i]:<{wide}}  {mean[i]:.3f} on {console.count(int(known[i]), 'prompt')}"
        for i in order[:SHOWN]
    ]
    if len(order) > SHOWN:
        lines.append(f"  and {len(order) - SHOWN} more models")
    if len(order) == 2:
        strong, weak = (graded.quality[:, i] for i in order)
        both = np.isfinite(strong + weak)
        if both.any():
            share = float((weak[both] >= strong[both]).mean())
            best, other = (graded.models[i] for i in order)
            lines.append(f"'{other}' is no worse than '{best}' on {share:.0%} of them.")
    return lines


def steps(
    router: Learned, out: str, prompts: str | None, hold_out: str | None, config: str | None
) -> list[str]:
    """The commands and the lines of swath.toml that put it to use."""
    weak, strong = pair_of(router, None, None)
    named = f" --weak {_word(weak)} --strong {_word(strong)}" if len(router.models) > 2 else ""
    goal = (
        f"{_word(prompts or 'FILE')} --share 0.3"
        if hold_out is None
        else f"{_word(hold_out)} --quality 0.95"
    )
    lines = [f"Next: swath router calibrate {_word(out)} --prompts {goal}{named}"]
    lines += ["Then `auto` is a model, and swath serve offers it, with this in swath.toml:", ""]
    lines += ["[router]", f"artifact = {_quoted(_relative(out, config))}"]
    settings = _found(config)
    aliases = None if settings is None else settings.models
    unknown = [
        name
        for name in router.models
        if aliases is not None and name.partition(":")[0] not in aliases and "/" not in name
    ]
    if unknown:
        ends = [name for name in (weak, strong) if name in unknown] or unknown[:2]
        # A contestant such as "fast temperature=1" is known by its first word.
        guess = {n: n.partition(" ")[0] for n in ends}
        told = ", ".join(
            f"{_quoted(n)} = {_quoted(g if aliases and g in aliases else 'ALIAS')}"
            for n, g in guess.items()
        )
        lines.append(f"models = {{ {told} }}  # its names, and your aliases")
    if len(router.models) > 2 and not unknown:
        lines += [f"weak = {_quoted(weak)}", f"strong = {_quoted(strong)}"]
    return lines


def _relative(out: str, config: str | None) -> str:
    """As swath.toml has it: from its own folder on."""
    import os
    from pathlib import Path

    settings = _found(config)
    path = Path(out).expanduser().resolve()
    if settings is not None and path.is_relative_to(settings.base.resolve()):
        return path.relative_to(settings.base.resolve()).as_posix()
    return path.as_posix() if settings is not None else os.fspath(out)


def _found(config: str | None) -> Config | None:
    """The user's swath.toml; None where there is none that can be read: the router is made."""
    from swath.config import load
    from swath.errors import ConfigError

    try:
        found = load(config)
    except ConfigError:
        return None
    return found if found.path is not None else None


def _word(text: str) -> str:
    from shlex import quote

    return quote(text)


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)
