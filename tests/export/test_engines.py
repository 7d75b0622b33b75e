"""Each export, loaded by the engine that it is for, against this package's own search and scores.

Where an engine is not installed, its tests are skipped.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tiednmt
from tests.models.contract import MATRICES
from tests.support.small_models import batch
from tests.support.translators import LINES, TRANSLATORS, save_translator
from tiednmt.commands import export
from tiednmt.errors import UserError
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.export.safetensors import TensorFile
from tiednmt.export.to_ctranslate2 import write_ctranslate2
from tiednmt.export.to_marian import write_marian
from tiednmt.export.to_onnx import write_onnx
from tiednmt.packages import optional_modules
from tiednmt.text.pipeline import TextPipeline

SMALL = ("--embed-dim", 16, "--input-scale", "sqrt-dim")


@pytest.fixture
def trained(prepared, tmp_path):
    """Makes a trained model, and its translations of LINES by our search."""

    def make(arch, *options, **kwargs):
        save_translator(tmp_path / "c.pt", prepared, arch, *options, **kwargs)
        model = read_trained(tmp_path / "c.pt", prepared)
        write_model_folder(tmp_path / "folder", model)
        found = tiednmt.load(tmp_path / "folder").translate(LINES, details=True)
        return model, [one for one in found if one.units]

    return make


def copies(folder, model):
    """How often each distinct matrix stands in the files of a folder."""
    content = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    embeddings = model.embeddings
    uses = (embeddings.source, embeddings.target, embeddings.output.embedding)
    weights = {id(one.weight): one.weight.detach().numpy().tobytes() for one in uses}
    return [content.count(numbers) for numbers in weights.values()]


# --- ONNX --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", TRANSLATORS)
@pytest.mark.parametrize("tying", MATRICES)
def test_onnx(trained, tmp_path, arch, tying):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from examples.translate_onnx import OnnxTranslator

    model, expected = trained(arch, "--projection", tying=tying)
    write_onnx(tmp_path / "onnx", model)
    for name in ("encoder.onnx", "decoder_step.onnx"):
        onnx.checker.check_model(str(tmp_path / "onnx" / name), full_check=True)
    translator = OnnxTranslator(tmp_path / "onnx")
    lines = [line for line in LINES if line]
    found = [translator.translate(line) for line in lines]
    assert [text for text, _ in found] == [one.text for one in expected]
    assert [score for _, score in found] == pytest.approx([one.score for one in expected], abs=1e-4)
    assert copies(tmp_path / "onnx", model.model) == [1] * MATRICES[tying]


VARIANTS = {
    "GRU of two layers": ("tied_gru", "--encoder-layers", 2),
    "LSTM in one direction": ("tied_lstm", "--no-input-feeding"),
    "LSTM without attention": ("tied_lstm", "--decoder-attention", "0", "--no-input-feeding"),
    "pre-norm": (
        *("tied_transformer", "--encoder-normalize-before", "--decoder-normalize-before"),
        *("--layernorm-embedding", "--activation-fn", "gelu_accurate"),
    ),
    "learned positions": (
        *("tied_transformer", "--encoder-learned-pos", "--decoder-learned-pos"),
        *("--alignment-layer", 0, "--alignment-heads", 1, "--activation-fn", "gelu"),
    ),
    "no positions": (
        *("tied_transformer", "--no-token-positional-embeddings", "--activation-fn", "tanh"),
    ),
    "factorised embeddings": ("tied_gru", "--embedding-rank", 3),
    "learned scale": ("tied_transformer_gru", "--input-scale", "learned"),
    "odd dimensions": ("tied_transformer_gru", "--embed-dim", 7, "--encoder-attention-heads", 1),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_of_other_options(trained, tmp_path, variant):
    """Scores and attention of one step after another, of a padded batch."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    trained_model, _ = trained(*VARIANTS[variant])
    model = trained_model.model
    write_onnx(tmp_path / "onnx", trained_model)
    encoder, step = (
        runtime.InferenceSession(tmp_path / "onnx" / name)
        for name in ("encoder.onnx", "decoder_step.onnx")
    )
    given, _ = batch(left_pad=False)
    with torch.no_grad():
        scores, extra = model(**given)
    attention = extra["attn"][0] if isinstance(extra["attn"], list) else extra["attn"]
    outcome = encoder.run(None, {"source": given["src_tokens"].numpy()})
    names = [output.name for output in encoder.get_outputs()]
    inputs = dict(zip(names, outcome, strict=True))
    wanted = {value.name for value in step.get_inputs()}
    lasting = given["prev_output_tokens"].ne(1).numpy()  # others, the model may leave out
    for t, tokens in enumerate(given["prev_output_tokens"].t()):
        feed = {name: value for name, value in inputs.items() if name in wanted}
        outcome = step.run(None, {**feed, "tokens": tokens.numpy()})
        found = dict(zip([output.name for output in step.get_outputs()], outcome, strict=True))
        expected = scores[:, t].log_softmax(-1).numpy()
        rows = lasting[:, t]
        np.testing.assert_allclose(found["scores"][rows], expected[rows], atol=1e-4)
        if attention is not None:
            told = attention[:, t].numpy()
            np.testing.assert_allclose(found["attention"][rows], told[rows], atol=1e-4)
        for name, value in found.items():
            inputs[name.replace("next.", "state.")] = value


# --- CTranslate2 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        (
            *(*SMALL, "--encoder-normalize-before", "--decoder-normalize-before"),
            *("--layernorm-embedding", "--activation-fn", "gelu"),
        ),
        ("--embed-dim", 16, "--input-scale", "3", "--encoder-learned-pos", "--decoder-learned-pos"),
    ],
    ids=str,
)
def test_ctranslate2(trained, tmp_path, options):
    engine = pytest.importorskip("ctranslate2")
    model, expected = trained("tied_transformer", *options)
    sources, targets = ([list(units) for units in side] for side in zip(
        *((one.source_units, one.units) for one in expected), strict=True))  # fmt: skip
    for int8, tolerance in ((False, 1e-4), (True, 0.2)):
        folder = tmp_path / f"int8 {int8}"
        write_ctranslate2(folder, model, int8)
        compute = "int8" if int8 else "float32"
        translator = engine.Translator(str(folder), compute_type=compute)
        scored = translator.score_batch(sources, targets)
        for one, found in zip(expected, scored, strict=True):
            assert found.log_probs == pytest.approx(one.unit_scores, abs=tolerance)
        pipeline = TextPipeline.saved(folder / "segmentation")
        assert pipeline.encode("w3 w7 dog", "en") == "w3 w7 d@@ og"
    greedy = tiednmt.load(tmp_path / "folder").translate(LINES, beam=1, details=True)
    exact = engine.Translator(str(tmp_path / "int8 False"), compute_type="float32")
    found = exact.translate_batch(sources, beam_size=1, max_decoding_length=200)
    for one, ours in zip(found, [one for one in greedy if one.units], strict=True):
        length = len(ours.units)
        assert one.hypotheses[0][:length] == list(ours.units)


@pytest.mark.parametrize("tying", MATRICES)
def test_ctranslate2_holds_a_tied_matrix_once(trained, tmp_path, tying):
    pytest.importorskip("ctranslate2")
    model, _ = trained("tied_transformer", *SMALL, tying=tying)
    write_ctranslate2(tmp_path / "engine", model)
    assert copies(tmp_path / "engine", model.model) == [1] * MATRICES[tying]


# --- Hugging Face ------------------------------------------------------------------------------


@pytest.mark.parametrize("tying", ["none", "decoder", "three-way"])
def test_marian(trained, tmp_path, tying):
    try:
        from transformers import MarianMTModel
    except (ImportError, OSError, RuntimeError):
        pytest.skip("transformers is not installed")
    model, _ = trained("tied_transformer", *SMALL, tying=tying)
    write_marian(tmp_path / "marian", model)
    theirs, told = MarianMTModel.from_pretrained(tmp_path / "marian", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    given, _ = batch(left_pad=False)
    tokens = given["src_tokens"]
    with torch.no_grad():
        ours = model.model.eval()(**given)[0]
        logits = theirs.eval()(
            input_ids=tokens,
            attention_mask=tokens.ne(1).long(),
            decoder_input_ids=given["prev_output_tokens"],
        ).logits
    kept = given["prev_output_tokens"].ne(1)
    torch.testing.assert_close(logits[kept], ours[kept], atol=1e-4, rtol=1e-5)
    embeddings = [theirs.model.encoder.embed_tokens, theirs.model.decoder.embed_tokens]
    assert (embeddings[0].weight is embeddings[1].weight) == (tying == "three-way")
    assert (theirs.lm_head.weight is embeddings[1].weight) == (tying != "none")


def test_marian_generates_more_than_twenty_units(trained, tmp_path):
    try:
        from transformers import MarianMTModel
    except (ImportError, OSError, RuntimeError):
        pytest.skip("transformers is not installed")
    model, _ = trained("tied_transformer", *SMALL, "--max-target-positions", 60)
    with torch.no_grad():
        model.model.output_layer.bias[model.target.eos()] -= 20  # it never ends by itself
    write_marian(tmp_path / "marian", model)
    theirs = MarianMTModel.from_pretrained(tmp_path / "marian")
    source = torch.tensor([[5, 9, model.source.eos()]])
    found = theirs.generate(source, attention_mask=torch.ones_like(source))[0].tolist()
    assert len(found) == 60 and model.target.pad() not in found


@pytest.mark.parametrize("tying", ["none", "decoder", "three-way"])
def test_marian_holds_a_tied_matrix_once(trained, tmp_path, tying):
    model, _ = trained("tied_transformer", *SMALL, tying=tying)
    write_marian(tmp_path / "marian", model)
    assert copies(tmp_path / "marian", model.model) == [1] * MATRICES[tying]
    assert "lm_head.weight" not in TensorFile(tmp_path / "marian" / "model.safetensors").shapes or (
        tying == "none"
    )
    told = json.loads((tmp_path / "marian" / "generation_config.json").read_text())
    assert told["max_length"] == model.model.decoder.max_target_positions
    vocabulary = json.loads((tmp_path / "marian" / "vocab.json").read_text())
    assert vocabulary["w0"] == model.source.index("w0")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("tied_gru", (), "supports only Transformers, not tied_gru"),
        ("tied_transformer", ("--projection",), "no matrix P"),
        ("tied_transformer", ("--input-scale", "3"), r"--input-scale 3: .* 1 or √dim"),
        ("tied_transformer", ("--layernorm-embedding",), "--layernorm-embedding"),
        ("tied_transformer", ("--encoder-normalize-before",), "--encoder-normalize-before"),
        ("tied_transformer", ("--activation-fn", "linear"), "--activation-fn"),
        ("tied_transformer", ("--output-map", "joint", "--output-map-size", 4), r"map:joint-4"),
    ],
    ids=str,
)
def test_what_marian_has_not(trained, tmp_path, arch, options, message):
    model, _ = trained(arch, *options)
    with pytest.raises(UserError, match=message):
        write_marian(tmp_path / "marian", model)
    assert not (tmp_path / "marian").exists()


def test_a_missing_package_is_named_with_what_installs_it():
    line = r"^--to onnx: nonesuch not installed; pip install nonesuch$"
    with pytest.raises(UserError, match=line):
        optional_modules("--to onnx", "nonesuch", "nonesuch.part")


@pytest.mark.parametrize(
    "options", [("--to", "onnx", "--int8"), ("--to", "marian", "--scores", "x")], ids=str
)
def test_options_that_exclude_each_other(prepared, options, capsys):
    with pytest.raises(SystemExit):
        export.main(["c.pt", "--data", str(prepared), "--out", "x", *options])
    assert f"not for --to {options[1]}" in capsys.readouterr().err
