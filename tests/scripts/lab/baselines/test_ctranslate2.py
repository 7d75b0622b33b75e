"""CTranslate2 on the weights of a Transformer of ours."""

from __future__ import annotations

import sys

import pytest
import torch

from scripts import benchmark
from scripts.lab.baselines import ctranslate2
from tests.support.untrained import save_untrained, write_dictionaries
from tiednmt.errors import UserError
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator


def test_an_interpreter_without_it_is_refused_in_one_line(tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import no_such_module"\n')
    python.chmod(0o755)
    with pytest.raises(UserError, match=r"cannot import ctranslate2; .* --ctranslate2-python") as e:
        ctranslate2.version(str(python))
    assert "\n" not in str(e.value)
    (tmp_path / "data" / "data-bin").mkdir(parents=True)
    (tmp_path / "three-way").mkdir()
    words = [f"w{i}" for i in range(9)]
    write_dictionaries(tmp_path / "data" / "data-bin", "dict.en.txt", "dict.de.txt", words=words)
    arguments = ("-s", "en", "-t", "de", "--arch", "tied_transformer_tiny", "--tying", "three-way")
    checkpoint = tmp_path / "three-way" / "checkpoint_best.pt"
    save_untrained(checkpoint, tmp_path / "data" / "data-bin", *arguments)
    command = ["generate", "--run", str(tmp_path), "--against", "ctranslate2"]
    with pytest.raises(SystemExit, match="cannot import ctranslate2"):
        benchmark.main([*command, "--ctranslate2-python", str(python)])


@pytest.mark.parametrize("int8", [False, True])
def test_its_translations_are_those_of_our_search(tmp_path, int8):
    """With an output bias, which fairseq's own Transformer has not."""
    pytest.importorskip("ctranslate2")
    words = [f"w{i}" for i in range(30)]
    data_bin = write_dictionaries(tmp_path / "bin", "dict.en.txt", "dict.de.txt", words=words)
    options = ("-s", "en", "-t", "de", "--arch", "tied_transformer_tiny", "--tying", "three-way")
    model = save_untrained(tmp_path / "model.pt", data_bin, *options).eval()
    state = torch.load(tmp_path / "model.pt")
    with torch.no_grad():
        for name, weight in state["model"].items():
            if weight.is_floating_point() and "scale" not in name:
                weight.add_(0.1 * torch.randn_like(weight))
        bias = state["model"]["decoder.output.bias"]
        bias.normal_(std=2)
    torch.save(state, tmp_path / "model.pt")
    model.load_state_dict(state["model"])
    (data_bin / "train.en-de.en.idx").touch()  # tells the languages
    (tmp_path / "out").mkdir()
    ctranslate2.write_model(tmp_path / "model.pt", data_bin, tmp_path / "out", int8)
    sentences = [[words[(7 * i + j) % 30] for j in range(3 + i)] for i in range(6)]
    found, seconds = ctranslate2.translate(tmp_path / "out", sentences, 4, 3, 1)
    assert seconds > 0
    dictionary = model.decoder.dictionary
    generator = TiedSequenceGenerator([model], dictionary, beam_size=4, max_len_b=256)
    same = 0
    for sentence, units in zip(sentences, found, strict=True):
        line = dictionary.encode_line(" ".join(sentence), add_if_not_exist=False).long()
        net_input = {"src_tokens": line[None], "src_lengths": torch.tensor([len(line)])}
        with torch.no_grad():
            ((best, *_),) = generator.generate([model], {"net_input": net_input})
        same += dictionary.string(best["tokens"]) == " ".join(units)
    assert same >= (3 if int8 else 6)
