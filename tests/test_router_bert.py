"""`bert`: an encoder tuned on a CPU. The tiny encoders here are written by the tests themselves."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swath.errors import InputError, MissingExtra
from swath.routing import bert
from swath.routing.artifact import load, save, to_bytes
from swath.routing.bert import Bert
from swath.routing.encoding import gelu, one_thread
from swath.routing.encoding_files import encoding
from swath.routing.encoding_tune import Settings, frozen, tune
from swath.routing.evaluate import evaluate
from swath.routing.training import train
from tests.router_kit import EASY, HARD, graded, prompts

pytest.importorskip("jax")
tokenizers = pytest.importorskip("tokenizers")

WIDTH, HEADS, LAYERS, INNER, LONGEST = 32, 2, 2, 48, 64
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *EASY, *HARD, "tell", "me", "about", "part"]
BERT = {
    "attention.self.query": (WIDTH, WIDTH),
    "attention.self.key": (WIDTH, WIDTH),
    "attention.self.value": (WIDTH, WIDTH),
    "attention.output.dense": (WIDTH, WIDTH),
    "intermediate.dense": (INNER, WIDTH),
    "output.dense": (WIDTH, INNER),
}
DISTIL = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """A random BERT under the model hub's names."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": drawn(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": drawn(LONGEST, WIDTH) * 0.1,
        "embeddings.token_type_embeddings.weight": drawn(2, WIDTH),
        "embeddings.LayerNorm.weight": 1 + drawn(WIDTH),
        "embeddings.LayerNorm.bias": drawn(WIDTH),
    }
    for i in range(LAYERS):
        for name, shape in BERT.items():
            made[f"encoder.layer.{i}.{name}.weight"] = drawn(*shape)
            made[f"encoder.layer.{i}.{name}.bias"] = drawn(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            made[f"encoder.layer.{i}.{name}.weight"] = 1 + drawn(WIDTH)
            made[f"encoder.layer.{i}.{name}.bias"] = drawn(WIDTH)
    return made


def safetensors(held: dict[str, np.ndarray], dtype: str = "F32") -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, array in held.items():
        if dtype == "BF16":
            part = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            part = array.astype("<f4" if dtype == "F32" else "<f2").tobytes()
        place = [len(body), len(body) + len(part)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": place}
        body += part
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def folder(place: Path, held: dict[str, np.ndarray], **config: Any) -> str:
    """An encoder's folder, as the model hub has them."""
    place.mkdir()
    about = {
        "model_type": "bert",
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
    (place / "config.json").write_text(json.dumps(about | config))
    (place / "model.safetensors").write_bytes(safetensors(held))
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.save(str(place / "tokenizer.json"))
    return str(place)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return folder(tmp_path_factory.mktemp("encoders") / "tiny", tensors())


@pytest.fixture(scope="module")
def router(tiny: str) -> Bert:
    made = train(graded(), "bert", embedding=tiny)
    assert isinstance(made, Bert)
    return made


# -- what it learns


def test_what_is_learned_holds_on_prompts_not_seen(router: Bert) -> None:
    texts, hard = prompts(300, seed=77)
    rng = np.random.default_rng(5)
    weak = (rng.random(300) < 1 / (1 + np.exp(5 * (hard - 0.5)))).astype(float)
    strong = (rng.random(300) < 1 / (1 + np.exp(5 * (hard - 0.5) - 2.5))).astype(float)
    score = router.score(texts)
    assert np.corrcoef(score, hard)[0, 1] > 0.5
    assert evaluate(score, weak, strong, resamples=100).apgr.low > 0.5
    quality = dict(zip(router.models, router.predict(texts).mean(axis=0), strict=True))
    assert quality["tiny"] < quality["small"] < quality["large"] < quality["huge"]


def test_tuning_fits_what_a_head_alone_cannot(tiny: str) -> None:
    """Whether two words are of one kind: no sum over words says it, frozen states hardly do."""
    rng = np.random.default_rng(1)
    base = encoding(tiny)
    words = rng.choice(HARD + EASY, (256, 2))
    target = np.array([1.0 if (a in HARD) == (b in HARD) else -1.0 for a, b in words])
    states = frozen(base, base.tokens([f"{a} {b}" for a, b in words], 64), 2)
    seen, held = [], []
    for epochs in (0, 30):
        chosen = Settings(layers=2, epochs=epochs, rate=2e-3)
        found = tune(base, states[:192], target[:192], chosen, seed=0)
        made = Bert(models=("a", "b"), embedding=tiny)
        made.tuned, made.head, made.depth = found.tensors, found.head, 2
        off = (made._answer(states) - target) ** 2
        seen.append(off[:192].mean())
        held.append(off[192:].mean())
    assert seen[0] > 0.8
    assert seen[1] < 0.1
    assert held[1] < 0.9 * held[0]


def test_the_held_out_fifth_sets_the_scale(router: Bert) -> None:
    """Curves from prompts that it knows by heart would promise too much."""
    from swath.routing.shared import folds

    own = sorted(set(graded()["prompt"].to_list()))
    raw = router.score(own)
    held = folds(tuple(own), 0) == 0
    assert abs(raw[held].mean()) < 1e-6
    assert abs(raw[held].std() - 1) < 1e-6
    assert abs(raw[~held].std() - 1) > 1e-6


# -- what it keeps


def test_scores_are_the_same_alone_together_and_reloaded(router: Bert, tmp_path: Path) -> None:
    texts = [*prompts(12, seed=3)[0], "", "?", "日本語の質問です", "x " * 3000, "Line\none\x00"]
    together = router.predict(texts)
    alone = np.vstack([router.predict([t]) for t in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)
    again = load(save(router, tmp_path / "a.router"))
    np.testing.assert_array_equal(router.score(texts), again.score(texts))
    np.testing.assert_array_equal(together, again.predict(texts))
    assert to_bytes(again) == to_bytes(router)
    assert b"Tell me about" not in to_bytes(router)
    assert router.predict([]).shape == (0, 4)
    why = router.explain(texts[0])
    assert {name for name, _ in why.parts} == {"features", "encoder"}
    assert again.explain(texts[0]) == why


def test_the_same_data_give_the_same_bytes(tiny: str) -> None:
    table = graded(80)
    mixed = table[np.random.default_rng(0).permutation(table.height)]
    one = to_bytes(train(table, "bert", embedding=tiny))
    assert one == to_bytes(train(mixed, "bert", embedding=tiny))
    assert one != to_bytes(train(table, "bert", embedding=tiny, seed=1))


def test_of_many_prompts_a_part_is_read(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert, "MOST", 60)
    table = graded(90).with_columns(source=pl.lit("a"))
    table = pl.concat([table, table.with_columns(source=pl.lit("b"))])
    router = train(table, "bert", embedding=tiny)
    assert router.training["read"] == 120  # in both sources
    assert router.training["prompts"] == 180
    assert len(router.quantiles) == 101
    assert to_bytes(train(table.reverse(), "bert", embedding=tiny)) == to_bytes(router)


def test_prediction_needs_no_jax_and_training_says_what_it_needs(
    router: Bert, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = prompts(5, seed=4)[0]
    path, wanted = save(router, tmp_path / "a.router"), router.score(texts)
    monkeypatch.setitem(sys.modules, "jax", None)
    np.testing.assert_array_equal(load(path).score(texts), wanted)
    with pytest.raises(MissingExtra, match="finetune"):
        train(graded(40), "bert", embedding=tiny)


def test_little_and_lopsided_data_still_give_a_router(tiny: str) -> None:
    table = pl.DataFrame(
        {"prompt": ["a", "a", "b", "b", "c", "c"], "model": ["x", "y"] * 3, "quality": [1.0] * 6}
    )
    quality = train(table, "bert", embedding=tiny).predict(["a", "something else entirely"])
    assert (quality > 0.5).all()
    partly = graded(120).filter((pl.col("model") != "huge") | (pl.col("prompt").str.ends_with("7")))
    assert np.isfinite(train(partly, "bert", embedding=tiny).predict(["a"])).all()


# -- encoders


@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=50))
def test_gelu_is_x_times_the_normal_distribution(values: list[float]) -> None:
    from math import erf

    x = np.array(values, np.float32)
    exact = [v * 0.5 * (1 + erf(v / 2**0.5)) for v in values]
    np.testing.assert_allclose(gelu(np, x), exact, atol=3e-6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 80), window=st.integers(8, 64))
def test_of_a_long_text_both_ends_are_read(tiny: str, count: int, window: int) -> None:
    words = [(HARD + EASY)[i % 16] for i in range(count)]
    (whole,) = encoding(tiny).tokens([" ".join(words)], 1000)
    (cut,) = encoding(tiny).tokens([" ".join(words)], window)
    assert len(cut) == min(count + 2, window)
    tail = window // 3
    if count + 2 <= window:
        assert cut.tolist() == whole.tolist()
    else:
        assert cut[: window - tail].tolist() == whole[: window - tail].tolist()
        assert cut[-1] == 3


def test_the_families_agree(tiny: str, tmp_path: Path) -> None:
    """One encoder as DistilBERT, RoBERTa, and inside a whole model: the same states."""
    held = tensors()
    types = held.pop("embeddings.token_type_embeddings.weight")
    plain = {**held, "embeddings.token_type_embeddings.weight": np.zeros_like(types)}
    distil = {}
    for name, array in held.items():
        new = name.replace("encoder.layer", "transformer.layer")
        for theirs, ours in DISTIL.items():
            new = new.replace(f".{theirs}.", f".{ours}.") if ".layer." in new else new
        distil[f"distilbert.{new}"] = array
    places = held["embeddings.position_embeddings.weight"]
    shifted = {**plain, "embeddings.position_embeddings.weight": np.vstack([places[:2], places])}
    gamma = {
        f"bert.{k.replace('Norm.weight', 'Norm.gamma').replace('Norm.bias', 'Norm.beta')}": v
        for k, v in plain.items()
    }
    names = [
        folder(tmp_path / "bert", plain),
        folder(tmp_path / "old", gamma),
        folder(tmp_path / "distil", distil, model_type="distilbert", n_layers=2, n_heads=2),
        folder(tmp_path / "roberta", shifted, model_type="roberta", pad_token_id=1),
    ]
    (ids,) = encoding(names[0]).tokens(["tell me about integral music"], 64)
    states = [encoding(n).states(ids, LAYERS) for n in names]
    for one in states[1:]:
        np.testing.assert_allclose(one, states[0], atol=1e-5)
    assert np.abs(encoding(tiny).states(ids, LAYERS) - states[0]).max() > 0.01


@pytest.mark.parametrize(("dtype", "within"), [("F16", 0.05), ("BF16", 0.5)])
def test_half_precision_weights_are_read(
    tiny: str, tmp_path: Path, dtype: str, within: float
) -> None:
    name = folder(tmp_path / dtype, tensors())
    (Path(name) / "model.safetensors").write_bytes(safetensors(tensors(), dtype))
    (ids,) = encoding(tiny).tokens(["tell me about integral music"], 64)
    off = np.abs(encoding(name).states(ids, 2) - encoding(tiny).states(ids, 2)).max()
    assert 0 < off < within


def _config(**values: Any) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        held = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(held | values))

    return change


def _damage(place: Path) -> None:
    path = place / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (_config(model_type="t5"), "type 't5'", "bert, roberta"),
        (_config(hidden_act="relu"), "activation 'relu'", "another model"),
        (_config(num_hidden_layers=5), "lacks .*encoder.layer.2", "whole encoder"),
        (_config(num_attention_heads=5), "not what config.json says", "again"),
        (lambda p: (p / "model.safetensors").unlink(), "no model.safetensors", "config.json"),
        (lambda p: (p / "config.json").write_text("{}"), "names no model_type", "again"),
        (lambda p: (p / "tokenizer.json").write_text("{}"), "no tokenizer", "again"),
        (_damage, "damaged", "again"),
    ],
)
def test_folders_that_are_no_encoders_are_refused(
    change: Callable[[Path], None], says: str, hint: str, tmp_path: Path
) -> None:
    name = folder(tmp_path / "x", tensors())
    change(Path(name))
    with pytest.raises(InputError, match=says) as caught:
        train(graded(20), "bert", embedding=name)
    assert hint in caught.value.hint
    with pytest.raises(InputError, match="no folder"):
        train(graded(20), "bert", embedding=str(tmp_path / "none"))


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    name = folder(tmp_path / "x", tensors())
    path = save(train(graded(40), "bert", embedding=name), tmp_path / "a.router")
    (Path(name) / "model.safetensors").write_bytes(safetensors(tensors(seed=1)))
    encoding.cache_clear()
    with pytest.raises(InputError, match="not those that this router was tuned on") as caught:
        load(path).score(["tell me"])
    assert "train the router anew" in caught.value.hint


def test_arrays_that_do_not_fit_are_refused(router: Bert) -> None:
    values, arrays = router.learned()
    short = {**arrays, "head": arrays["head"][:-3]}
    for broken in (short, {k: arrays[k] for k in ("head", "weights")}):
        with pytest.raises(ValueError, match=r"width|not all"):
            Bert(models=router.models).relearn(values, broken)


# -- the packaged encoder


@pytest.mark.local
def test_the_packaged_encoder_is_what_onnx_runtime_computes() -> None:
    from swath.local.encoder import encoder
    from swath.routing.vectors import LOCAL, gist

    base = encoding(LOCAL)
    texts = [
        "What is the derivative of x squared?",
        "Write a friendly birthday message for my neighbour, please.",
        "```python\ndef f(x): return x[::-1]\n```\nWhat does f('abc') return?",
        gist("Which of the following is true? " + "A) entropy rises B) energy is lost " * 20),
        "日本語の質問です",
    ]
    wanted = np.array(encoder().embed(texts).vectors)
    with one_thread():
        found = np.array(
            [base.states(ids, base.layers)[0].mean(axis=0) for ids in base.tokens(texts, 256)]
        )
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert ((found * wanted).sum(axis=1) > 0.9999).all()
    assert len(base.sha256) == len(hashlib.sha256().hexdigest())


@pytest.mark.local
@pytest.mark.slow
def test_the_packaged_encoder_learns() -> None:
    router = train(graded(160), "bert")
    texts, hard = prompts(80, seed=9)
    assert np.corrcoef(router.score(texts), hard)[0, 1] > 0.5
