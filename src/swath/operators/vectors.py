"""Texts as vectors, and groups of vectors: what `cluster` and `topics` share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError, Kind, MissingExtra, ProviderError
from swath.messages import Message, Request
from swath.operators.asking import Ask, Sizes
from swath.operators.table import ROW, Forecast
from swath.operators.template import Template, as_text, path
from swath.providers import LOCAL, provider

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

BLOCK = 256  # texts embedded together: a longer table has the same first blocks, paid for once
SEEN = 1000  # texts on which the number of groups is chosen
MOST = 20  # groups, where the number is not given
GUESS = 8  # groups, where a forecast does not know
_OF_ONE_TEXT = frozenset({Kind.CONTEXT, Kind.BAD_REQUEST, Kind.REFUSAL})


def checked(text: str | pl.Expr, k: int | None) -> str | pl.Expr | Template:
    """The text as it can be read. Raises InputError."""
    if k is not None and (not isinstance(k, int) or k < 2):
        raise InputError(
            f"k must be a number of at least 2, not {k!r}.", hint="Leave it out to have it chosen."
        )
    if not isinstance(text, str | pl.Expr) or (isinstance(text, str) and not text):
        raise InputError(
            f"A column was expected, not {type(text).__name__}.",
            hint="Give its name, a template such as '{title}: {text}', or an expression.",
        )
    return Template(text) if isinstance(text, str) and "{" in text else text


def roots(text: str | pl.Expr | Template, schema: pl.Schema) -> frozenset[str]:
    """The columns of `schema` that the text is of. Raises ColumnNotFound."""
    if isinstance(text, pl.Expr):
        return frozenset(path(name, schema)[0] for name in text.meta.root_names())
    names = text.names if isinstance(text, Template) else (text,)
    return frozenset(path(name, schema)[0] for name in names)


def texts_of(text: str | pl.Expr | Template, table: pl.DataFrame) -> dict[str, list[int]]:
    """Each text that is not blank, and the rows that have it; in order of first occurrence."""
    schema = pl.Schema({k: v for k, v in table.schema.items() if k != ROW})
    if isinstance(text, Template):
        expr = text.expr(schema)
    elif isinstance(text, str):
        expr = path(text, schema)[1]
    else:
        expr = as_text(text, table.lazy().select(text).collect_schema().dtypes()[0])
    rows_of: dict[str, list[int]] = {}
    for row, said in enumerate(table.select(expr.alias("t"))["t"]):
        if said is not None and said.strip():
            rows_of.setdefault(said, []).append(row)
    return rows_of


async def embedded(
    ask: Ask, texts: Sequence[str], model: str
) -> tuple[list[int], Matrix, dict[int, ProviderError]]:
    """Which texts have a vector, the vectors in that order, and why others have none. A text that
    the model refuses costs its neighbours nothing but another call."""
    found: dict[int, Any] = {}
    failed: dict[int, ProviderError] = {}

    async def one(block: Sequence[int]) -> None:
        try:
            vectors = await ask.embed([texts[i] for i in block], model)
        except ProviderError as error:
            if len(block) == 1 or error.kind not in _OF_ONE_TEXT:
                failed.update(dict.fromkeys(block, error))
                return
        else:
            found.update(zip(block, vectors, strict=True))
            ask.done(len(block))
            return
        middle = len(block) // 2
        await asyncio.gather(one(block[:middle]), one(block[middle:]))

    places = range(len(texts))
    await asyncio.gather(*(one(places[at : at + BLOCK]) for at in range(0, len(texts), BLOCK)))
    import numpy as np

    order = sorted(found)
    empty = np.zeros((0, 1), dtype=np.float32)
    return order, np.stack([found[i] for i in order]) if order else empty, failed


def grouped(
    vectors: Matrix, weights: Sequence[int], k: int | None, seed: int
) -> tuple[list[int], Matrix]:
    """(the group of each vector, the groups' centres): k-means over texts that count `weights`
    times. Group 0 is the largest. Without `k`, that of the best mean silhouette (Rousseeuw 1987)
    over a sample. Blocks; needs scikit-learn."""
    try:
        from sklearn.cluster import KMeans
    except ModuleNotFoundError:
        raise MissingExtra("clusters", "tables") from None
    import numpy as np

    n = len(vectors)
    if k is None:
        k = _chosen(vectors, seed)
    k = min(k, n)
    if k < 2:
        return [0] * n, np.asarray(vectors.mean(axis=0, keepdims=True))
    model = KMeans(k, n_init=4, random_state=seed).fit(vectors, sample_weight=list(weights))
    labels: list[int] = model.labels_.tolist()
    heavy: dict[int, int] = {}
    for label, weight in zip(labels, weights, strict=True):
        heavy[label] = heavy.get(label, 0) + weight
    order = sorted(heavy, key=lambda label: -heavy[label])  # stable: the first to occur first
    place = {label: i for i, label in enumerate(order)}
    centres = np.asarray(model.cluster_centers_[order], dtype=np.float32)
    return [place[label] for label in labels], centres


def _chosen(vectors: Matrix, seed: int) -> int:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    n = len(vectors)
    if n < 3:
        return 1
    if n > SEEN:
        vectors = vectors[sorted(Random(seed).sample(range(n), SEEN))]
        n = SEEN
    best, most = 1, -1.0
    for k in range(2, min(MOST, n - 1) + 1):
        labels = KMeans(k, n_init=2, random_state=seed).fit_predict(vectors)
        if len(set(labels.tolist())) < 2:  # equal vectors
            break
        score = float(silhouette_score(vectors, labels))
        if score > most:
            best, most = k, score
    return best


def central(vectors: Matrix, labels: Sequence[int], centres: Matrix, count: int) -> list[list[int]]:
    """Per group the places of the `count` vectors nearest to its centre, the nearest first."""
    import numpy as np

    far = np.linalg.norm(vectors - centres[list(labels)], axis=1)
    nearest: list[list[int]] = [[] for _ in centres]
    for i in np.argsort(far, kind="stable").tolist():
        if len(nearest[labels[i]]) < count:
            nearest[labels[i]].append(i)
    return nearest


def reckon(cast: Forecast, sizes: Sizes, texts: Sequence[str], number: float, alias: str) -> None:
    """Adds the calls that embedding `number` such texts takes."""
    model = sizes.model(alias)
    local = model.provider == LOCAL
    # Blocks that are asked for at once leave in calls as large as the provider takes.
    batch = BLOCK if local else provider(model.provider).max_texts(model)
    cast.calls[alias] = cast.calls.get(alias, 0.0) + -(-round(number) // batch)
    if local or not texts:
        return  # costs nothing
    size = min(batch, max(round(number), 1))
    for at in range(0, min(len(texts), 8 * size), size):
        some = [texts[i % len(texts)] for i in range(at, at + size)]
        said = Message("user", "\n".join(some))
        cast.requests.append(Request(model=alias, messages=(said,), max_tokens=1))
