"""Which pairs of two lists of texts are worth a question: the nearest of each, either way.

Likeness is the cosine of embeddings and that of weighted letter triples, each scaled to its mean
and spread over random pairs, and added. Embeddings know what words mean; triples see the rare
tokens, such as a model's number, that tell one product from the next. A pair's rank is the better
of two: the right text's among all for the left one, and the left one's for the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from swath.errors import MissingExtra, WeightsError
from swath.operators.asking import Ask
from swath.operators.nearest import blocks, need_numpy, top

if TYPE_CHECKING:
    from swath.operators.nearest import Floats, Ints

EMBED_MODEL = "local/minilm-l6"
SCALED_BY = 1000  # texts a side that mean and spread are taken from

Likeness = Literal["auto", "embedding", "lexical"]


@dataclass(frozen=True)
class Ranked:
    """Pairs (places on the left and on the right) and their ranks, nearest first; within a rank in
    order. Of a list with itself, each pair once, the earlier text left."""

    left: Ints
    right: Ints
    rank: Ints
    depth: int

    def between(self, above: int, to: int) -> list[tuple[int, int]]:
        """The pairs of rank `above` + 1 to `to`."""
        chosen = (self.rank > above) & (self.rank <= to)
        lefts, rights = self.left[chosen].tolist(), self.right[chosen].tolist()
        return list(zip(lefts, rights, strict=True))


def rank(
    left: Sequence[str],
    right: Sequence[str],
    depth: int,
    *,
    vectors: tuple[Floats, Floats] | None = None,
    lexical: bool = True,
    same: bool = False,
    either: bool = True,
) -> Ranked:
    """The pairs in which either text is among the `depth` nearest of the other; without `either`,
    the right one among the nearest of the left one. `vectors` are the texts' embeddings; `same`:
    both lists are one. Ten thousand by ten thousand take 20 seconds on two cores."""
    np = need_numpy("joins")
    if min(len(left), len(right)) <= same:
        none = np.zeros(0, dtype=np.int64)
        return Ranked(none, none, none, depth)
    measures = _measures(left, right, vectors, lexical)
    scales = [_scale(measure, len(left), len(right)) for measure in measures]
    n, m = len(left), len(right)
    across = min(depth, m - same)  # neighbours of each left text: itself is none
    down = min(depth, n - same)  # and of each right one
    rows = np.zeros((n, across), dtype=np.int64)
    best = np.full((m, down), -np.inf, dtype=np.float32)
    where = np.zeros((m, down), dtype=np.int64)
    for block in blocks(n, m):
        likeness = np.zeros((block.stop - block.start, m), dtype=np.float32)
        for measure, (mean, spread) in zip(measures, scales, strict=True):
            likeness += (measure(block, slice(0, m)) - mean) / spread
        if same:
            inside = np.arange(block.stop - block.start)
            likeness[inside, inside + block.start] = -np.inf
        rows[block], _ = top(likeness, across)
        if not either:
            continue
        better = np.flatnonzero(likeness.max(axis=0) > best[:, -1])
        together = np.concatenate([best[better], likeness[:, better].T], axis=1)
        numbers = np.arange(block.start, block.stop)
        places = np.concatenate(
            [where[better], np.broadcast_to(numbers, (len(better), len(numbers)))], axis=1
        )
        chosen, best[better] = top(together, down)
        where[better] = np.take_along_axis(places, chosen, axis=1)
    pairs = _coded(np.arange(n).repeat(across), rows.ravel(), m, same)
    ranks = np.tile(np.arange(1, across + 1), n)
    if either:
        back = _coded(where.ravel(), np.arange(m).repeat(down), m, same)
        pairs = np.concatenate([pairs, back])
        ranks = np.concatenate([ranks, np.tile(np.arange(1, down + 1), m)])
    order = np.lexsort((ranks, pairs))
    pairs, ranks = pairs[order], ranks[order]
    first = np.concatenate([[True], pairs[1:] != pairs[:-1]])
    pairs, ranks = pairs[first], ranks[first]
    order = np.lexsort((pairs, ranks))
    return Ranked(pairs[order] // m, pairs[order] % m, ranks[order], depth)


def further(ranked: Ranked, n: int, m: int, count: int, same: bool, seed: int = 0) -> Any:
    """Up to `count` pairs that are not in `ranked`, drawn uniformly, each once."""
    np = need_numpy("joins")
    near = np.sort(ranked.left * m + ranked.right)
    draw = np.random.default_rng(seed)
    found: dict[int, None] = {}
    for _ in range(20):
        if len(found) >= count:
            break
        codes = _coded(draw.integers(0, n, 4 * count), draw.integers(0, m, 4 * count), m, same)
        codes = codes[~np.isin(codes, near, assume_unique=False)]
        if same:
            codes = codes[codes // m != codes % m]
        found.update(dict.fromkeys(codes.tolist()))
    return [divmod(code, m) for code in list(found)[:count]]


async def vectors_for(
    ask: Ask, left: Sequence[str], right: Sequence[str], kind: Likeness, model: str | None
) -> tuple[Floats, Floats] | None:
    """Embeddings of both lists; None where words alone must do."""
    if kind == "lexical":
        return None
    chosen = model or EMBED_MODEL
    if chosen == EMBED_MODEL and not await encoder_ready():
        if kind == "embedding" or model is not None:
            raise MissingExtra("The local encoder", "local")
        ask.note("without the extra 'local', pairs are chosen by their letters alone")
        return None
    both = await ask.embed([*left, *right], chosen)
    return both[: len(left)], both[len(left) :]


async def encoder_ready() -> bool:
    """Whether the packaged encoder is here, or can be fetched."""
    if find_spec("onnxruntime") is None or find_spec("tokenizers") is None:
        return False
    import asyncio

    from swath.local import weights

    try:
        await asyncio.to_thread(weights.obtain, weights.DEFAULT_EMBED)
    except WeightsError:
        return False
    return True


def _coded(left: Ints, right: Ints, m: int, same: bool) -> Ints:
    np = need_numpy("joins")
    coded: Ints = (
        np.minimum(left, right) * m + np.maximum(left, right) if same else left * m + right
    )
    return coded


def _measures(
    left: Sequence[str],
    right: Sequence[str],
    vectors: tuple[Floats, Floats] | None,
    lexical: bool,
) -> list[Any]:
    """Functions (slice of the left, slice of the right) -> likeness."""
    found: list[Any] = []
    if vectors is not None:
        a, b = vectors
        found.append(lambda rows, columns: a[rows] @ b[columns].T)
    if lexical or vectors is None:
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ModuleNotFoundError:
            raise MissingExtra("joins", "tables") from None
        np = need_numpy("joins")
        triples = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True, dtype=np.float32
        )
        try:
            triples.fit([*left, *right])
        except ValueError:  # texts too short for a triple
            return found or [lambda rows, columns: np.zeros((_length(rows), _length(columns)))]
        x, y = triples.transform(left), triples.transform(right).T.tocsc()
        found.append(lambda rows, columns: (x[rows] @ y[:, columns]).toarray())
    return found


def _length(part: Any) -> int:
    return part.stop - part.start if isinstance(part, slice) else len(part)


def _scale(measure: Any, n: int, m: int) -> tuple[float, float]:
    np = need_numpy("joins")
    draw = np.random.default_rng(0)
    rows = np.sort(draw.permutation(n)[:SCALED_BY])
    columns = np.sort(draw.permutation(m)[:SCALED_BY])
    likeness = measure(rows, columns)
    return float(likeness.mean()), float(likeness.std()) or 1.0
