"""``tiednmt.load``: every kind of model, every form of answer."""

import copy
import json
import math
import pickle
import shutil
import sys
import threading
from itertools import count, islice

import pytest
import torch

import tiednmt
from tests.support.translators import LINES, TRANSLATORS, prepared_folder, save_translator
from tiednmt.errors import UserError
from tiednmt.export.model_folder import write_model_folder
from tiednmt.export.reading import read_trained
from tiednmt.modules.frozen_linear import Int8Linear
from tiednmt.translation.translator import Translation


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepared_folder(tmp_path_factory.mktemp("data") / "prepared")


@pytest.fixture(scope="module")
def checkpoints(prepared, tmp_path_factory):
    """Of every architecture, and of a second seed."""
    run = tmp_path_factory.mktemp("run")
    for arch in TRANSLATORS:
        save_translator(run / f"{arch}.pt", prepared, arch)
    save_translator(run / "second.pt", prepared, seed=8)
    return {path.stem: path for path in run.iterdir()}


@pytest.fixture(scope="module")
def folders(prepared, checkpoints):
    for path in checkpoints.values():
        write_model_folder(path.with_suffix(""), read_trained(path, prepared))
    return {name: path.with_suffix("") for name, path in checkpoints.items()}


@pytest.fixture(scope="module")
def translator(folders):
    return tiednmt.load(folders["tied_gru"])


@pytest.mark.parametrize("arch", TRANSLATORS)
def test_a_folder_translates_as_its_checkpoint(prepared, checkpoints, folders, arch):
    expected = tiednmt.load(checkpoints[arch], data=prepared).translate(LINES)
    assert len(set(expected)) > 2
    assert tiednmt.load(folders[arch]).translate(LINES) == expected


def test_forms_of_the_answer(translator):
    best = translator.translate(LINES)
    several = translator.translate(LINES, nbest=3)
    assert [len(of) for of in several] == [3, 3, 1, 3, 3]
    assert [of[0] for of in several] == best
    assert best[2] == ""
    detailed = translator.translate(LINES, nbest=3, details=True)
    assert [[one.text for one in of] for of in detailed] == several
    assert [one.text for one in translator.translate(LINES, details=True)] == best
    for of in detailed:
        scores = [one.score for one in of]
        assert scores == sorted(scores, reverse=True)
    assert detailed[2] == [Translation("", 0.0)]
    assert translator.translate([]) == []


def test_details(translator):
    (one,) = translator.translate(["w3 w7 dog"], details=True, lenpen=0.7)
    assert one.source_units == ("w3", "w7", "d@@", "og")
    length = len(one.units) + 1
    assert len(one.unit_scores) == length
    assert one.score == pytest.approx(sum(one.unit_scores) / length**0.7, abs=1e-5)
    assert [unit for _, unit in one.alignment] == [*range(len(one.units))]
    assert {source for source, _ in one.alignment} <= {0, 1, 2, 3}


def test_score_and_alignment_are_the_models_own(translator):
    """Against one forward pass over the translation."""
    (one,) = translator.translate(["w3 w7 w1."], details=True)
    model, task = translator.models[0], translator.task
    source = task.source_dictionary.encode_line(" ".join(one.source_units), append_eos=True)
    target = task.target_dictionary.encode_line(" ".join(one.units), append_eos=True)
    previous = torch.cat((target[-1:], target[:-1])).long().unsqueeze(0)
    with torch.no_grad():
        scores, extra = model(
            source.long().unsqueeze(0), torch.tensor([len(source)]), prev_output_tokens=previous
        )
    expected = scores[0].log_softmax(-1).gather(1, target.long().unsqueeze(1)).squeeze(1)
    assert one.unit_scores == pytest.approx(expected.tolist(), abs=1e-5)
    most = extra["attn"][0, : len(one.units), : len(one.source_units)].argmax(1)
    assert [source for source, _ in one.alignment] == most.tolist()


def test_batches_and_order_change_nothing(translator):
    lines = [f"w{i % 30} " * (1 + i % 7) for i in range(40)]
    expected = [translator.translate([line])[0] for line in lines]
    assert translator.translate(lines) == expected
    assert translator.translate(lines, max_sentences=3) == expected
    assert translator.translate(lines, max_tokens=10) == expected
    assert translator.translate(iter(lines)) == expected


def test_a_stream_reads_no_more_than_it_must(translator):
    read = []
    lines = (read.append(i) or f"w{i % 30}" for i in count())
    found = [*islice(translator.stream(lines, at_once=4), 6)]
    assert found == translator.translate([f"w{i}" for i in range(6)])
    assert len(read) == 8
    assert [*translator.stream(["w1"], nbest=2)] == translator.translate(["w1"], nbest=2)


@pytest.mark.parametrize("line", ["", "  ", "\t", "\u2028", "\u200b", "\ufeff \u200e", "\x01"])
def test_a_line_without_visible_characters_is_blank(translator, line):
    assert translator.translate(["w1", line, "w1"])[1] == ""
    one, other = translator.translate([line, line], nbest=2)
    assert one == other == [""] and one is not other


def test_threads(translator):
    """Each gets the answers to its own lines, whatever the others ask."""
    jobs = [(beam, [f"w{(7 * beam + i) % 30} w{i}" for i in range(12)]) for beam in (1, 2, 3, 4)]
    expected = [translator.translate(lines, beam=beam) for beam, lines in jobs]
    found = [[] for _ in jobs]

    def work(place, beam, lines):
        for _ in range(3):
            found[place].append(translator.translate(lines, beam=beam))

    threads = [threading.Thread(target=work, args=(place, *job)) for place, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[one] * 3 for one in expected]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
@pytest.mark.parametrize("do", [pickle.dumps, copy.deepcopy, copy.copy])
def test_pickles_and_copies_are_refused_with_the_way_out(translator, do):
    with pytest.raises(TypeError, match="let each process call"):
        do(translator)


def test_one_thread_closes_while_another_translates(folders):
    lines = [f"w{i % 30} " * 12 for i in range(48)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with tiednmt.load(folders["tied_gru"], cpu=True) as translator:
        expected = translator.translate(lines)
        done = threading.Event()

        def close():
            while not done.wait(0.02):
                translator.close()

        thread = threading.Thread(target=close)
        thread.start()
        try:
            assert translator.translate(lines, max_sentences=4) == expected
        finally:
            done.set()
            thread.join()
            torch.set_num_threads(threads)


def test_no_gradient_is_recorded_in_a_thread(translator):
    scores = []

    def work():
        scores.append(translator.translate(["w1"], details=True)[0].score)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert scores == [translator.translate(["w1"], details=True)[0].score]


def test_ensembles(prepared, checkpoints, folders, translator):
    twice = tiednmt.load([folders["tied_gru"]] * 2)
    assert twice.translate(LINES) == translator.translate(LINES)
    pair = tiednmt.load([folders["tied_gru"], folders["second"]])
    alone = [tiednmt.load(folders[name]) for name in ("tied_gru", "second")]
    (both,) = pair.translate(["w3 w7 w1."], details=True)
    assert all(both.score != one.translate(["w3 w7 w1."], details=True)[0].score for one in alone)
    mixed = tiednmt.load([checkpoints["tied_gru"], folders["second"]], data=prepared)
    assert mixed.translate(LINES) == pair.translate(LINES)


def test_int8(prepared, checkpoints, folders, tmp_path):
    def kind(translator):
        translator.translate(["w1"])
        layer = translator.models[0].output_layer
        with torch.no_grad():
            return type(layer.frozen(layer.embedding.weight, layer.bias))

    trained = read_trained(checkpoints["tied_gru"], prepared)
    write_model_folder(tmp_path / "int8", trained, int8=True)
    rounded = tiednmt.load(tmp_path / "int8")
    assert kind(rounded) is Int8Linear
    assert kind(tiednmt.load(tmp_path / "int8", int8=False)) is not Int8Linear
    asked = tiednmt.load(folders["tied_gru"], int8=True)
    assert kind(asked) is Int8Linear
    scores = [one.score for one in asked.translate(LINES, details=True)]
    found = [one.score for one in rounded.translate(LINES, details=True)]
    assert found == pytest.approx(scores, abs=0.05)


def test_a_data_folder_that_no_model_uses(prepared, checkpoints, folders, tmp_path):
    for data in (prepared, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=f"--data {data}: a model folder needs none"):
            tiednmt.load([folders["tied_gru"], folders["second"]], data=data)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        tiednmt.load([folders["tied_gru"], checkpoints["second"]], data=tmp_path / "nowhere")


@pytest.mark.parametrize("nbest", [None, 2])
def test_a_model_whose_scores_are_no_numbers(prepared, tmp_path, nbest):
    save_translator(tmp_path / "model.pt", prepared)
    diverged = tiednmt.load(tmp_path / "model.pt", data=prepared)
    with torch.no_grad():
        diverged.models[0].output_layer.bias.fill_(math.nan)
    with pytest.raises(UserError, match=r"scores are not numbers.*use an earlier checkpoint"):
        diverged.translate(LINES, nbest=nbest)


def test_too_long_a_line_is_cut_with_a_warning(translator, caplog):
    (one,) = translator.translate(["w1 " * 1100], beam=1, details=True)
    assert len(one.source_units) == 1023
    assert "a line of 1,100 subword units is longer than the model takes" in caplog.text


def test_a_line_as_long_as_the_model_takes_is_translated_whole(prepared, tmp_path, caplog):
    save_translator(tmp_path / "c.pt", prepared, "tied_gru", "--max-source-positions", 1200)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "c.pt", prepared))
    for name, data in (("c.pt", prepared), ("folder", None)):
        translator = tiednmt.load(tmp_path / name, data)
        (one,) = translator.translate(["w1 " * 1100], beam=1, details=True)
        assert len(one.source_units) == 1100
    assert "longer than the model takes" not in caplog.text


def test_a_with_block(folders):
    with tiednmt.load(folders["tied_gru"]) as translator:
        first = translator.translate(LINES)
    assert translator.translate(LINES) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "--beam 0: must be 1 or more"),
        ({"nbest": 0}, "nbest 0: must be from 1 to beam \\(5\\)"),
        ({"beam": 2, "nbest": 3}, "nbest 3: must be from 1 to beam \\(2\\)"),
        ({"nbest": 2.0}, "nbest 2.0: must be from 1 to beam"),
        ({"max_tokens": -1}, "--max-tokens -1"),
        ({"beam": 5.0}, "--beam 5.0: must be a whole number"),
        ({"at_once": 0}, "at_once 0: must be a whole number above zero"),
    ],
    ids=str,
)
def test_numbers_out_of_range(translator, options, message):
    with pytest.raises(UserError, match=message):
        [*translator.stream(LINES, **options)]
    if "at_once" not in options:
        with pytest.raises(UserError, match=message):
            translator.translate(LINES, **options)


@pytest.mark.parametrize("lenpen", [-1, 0, 2])
def test_a_whole_length_penalty(translator, lenpen):
    (one,) = translator.translate(["w3 w7"], details=True, lenpen=lenpen)
    expected = sum(one.unit_scores) / len(one.unit_scores) ** lenpen
    assert one.score == pytest.approx(expected, rel=1e-4)


def test_arguments_that_it_does_not_have(translator):
    with pytest.raises(TypeError, match="unexpected keyword argument 'beams'"):
        translator.translate(LINES, beams=3)
    for lines in ("w1", None, 5):
        with pytest.raises(UserError, match="a list of lines"):
            translator.translate(lines)
    for line, fault in (
        (b"w1", "line 2: must be a string, not bytes"),
        (None, "line 2: must be a string, not NoneType"),
        ("w\0001", "line 2: holds a NUL character"),
        ("\ud800 w1", "line 2: holds half a surrogate pair"),
    ):
        with pytest.raises(UserError, match=fault):
            translator.translate(["w1", line])
        answers = translator.stream(["w1", line], at_once=1)
        assert next(answers)
        with pytest.raises(UserError, match=fault):
            next(answers)
    for options, fault in (
        ({"beam": True}, "--beam True: must be a whole number"),
        ({"beam": "5"}, "--beam '5': must be a whole number"),
        ({"lenpen": None}, "--lenpen None: must be a number"),
        ({"nbest": True}, "nbest True: must be from 1"),
    ):
        with pytest.raises(UserError, match=fault):
            translator.translate(["w1"], **options)


def test_a_checkpoint_knows_its_folder(prepared, checkpoints, tmp_path):
    """Unless that is no longer where it was."""
    alone = tiednmt.load(checkpoints["tied_gru"], cpu=True).translate(LINES)
    given = tiednmt.load(checkpoints["tied_gru"], prepared, cpu=True).translate(LINES)
    assert alone == given
    moved = prepared_folder(tmp_path / "prepared")
    save_translator(tmp_path / "c.pt", moved)
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"c\.pt: give the prepared folder it was trained with"):
        tiednmt.load(tmp_path / "c.pt")


def test_what_cannot_be_loaded(prepared, checkpoints, folders, tmp_path):
    with pytest.raises(UserError, match=r"no such checkpoint"):
        tiednmt.load(tmp_path / "none.pt", data=prepared)
    with pytest.raises(UserError, match="not a model folder"):
        tiednmt.load(tmp_path)
    with pytest.raises(UserError, match="give at least one"):
        tiednmt.load([])
    other = prepared_folder(tmp_path / "other", words=["a", "b", "c"])
    save_translator(tmp_path / "other.pt", other)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "other.pt", other))
    with pytest.raises(UserError, match="cannot be an ensemble"):
        tiednmt.load([folders["tied_gru"], tmp_path / "folder"])


def test_a_tag_stands_before_each_source_sentence(prepared, tmp_path):
    """As in the text that the model was trained on, from its folder and from its export."""
    tagged = shutil.copytree(prepared, tmp_path / "tagged")
    manifest = json.loads((tagged / "manifest.json").read_text())
    manifest["text"]["tag"] = "w9"
    (tagged / "manifest.json").write_text(json.dumps(manifest))
    save_translator(tmp_path / "c.pt", tagged)
    write_model_folder(tmp_path / "folder", read_trained(tmp_path / "c.pt", tagged))
    for translator in (tiednmt.load(tmp_path / "c.pt", tagged), tiednmt.load(tmp_path / "folder")):
        one, blank = translator.translate(["w1 w2", " "], details=True)
        assert one.source_units == ("w9", "w1", "w2")
        assert blank.text == "" and blank.source_units == ()


def save_stock(path, prepared):
    """A checkpoint of fairseq's own Transformer."""
    sizes = ("--encoder-layers", 1, "--decoder-layers", 1, "--encoder-embed-dim", 8)
    heads = ("--encoder-attention-heads", 2, "--decoder-attention-heads", 2)
    save_translator(path, prepared, "transformer", *sizes, *heads, tying=None)


def test_int8_weights_and_a_stock_model(prepared, checkpoints, tmp_path):
    """What asks for int8 weights is named, an option or another model, and the way out."""
    stock, folder = tmp_path / "stock.pt", tmp_path / "folder"
    save_stock(stock, prepared)
    write_model_folder(folder, read_trained(checkpoints["tied_gru"], prepared), int8=True)
    fault = f"^{stock}: fairseq's own transformer, which does not decode with int8 weights"
    for models in ([folder, stock], [stock, folder]):
        with pytest.raises(UserError, match=f"{fault}, as {folder} does; export that") as refused:
            tiednmt.load(models, data=prepared)
        assert "scripts.convert_checkpoint" in str(refused.value)
    with pytest.raises(UserError, match=rf"{fault} \(--int8\); leave --int8 out, or"):
        tiednmt.load(stock, data=prepared, int8=True)
    assert tiednmt.load([folder, stock], data=prepared, int8=False).translate(["w1"])


def test_stock_models(prepared, tmp_path):
    save_stock(tmp_path / "c.pt", prepared)
    translator = tiednmt.load(tmp_path / "c.pt", data=prepared)
    found = translator.translate(LINES, details=True)
    assert [one.text for one in found] == translator.translate(LINES)
    dims = ("encoder-embed-dim", "decoder-embed-dim", "decoder-out-embed-dim")
    names = (*dims, "encoder-hidden-size", "decoder-hidden-size")
    sizes = [word for name in names for word in (f"--{name}", 8)]
    save_translator(tmp_path / "lstm.pt", prepared, "lstm", *sizes, tying=None)
    (one,) = tiednmt.load(tmp_path / "lstm.pt", data=prepared).translate(["w3 w7"], details=True)
    assert len(one.alignment) == len(one.units)
