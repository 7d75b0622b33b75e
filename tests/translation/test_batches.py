"""Batches of sentences: of mixed lengths where each translation depends on its own source."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

import tiednmt
from tests.support.small_models import JOINT, model
from tests.support.translators import LINES, TRANSLATORS, save_translator
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.translation.batches import batches_for, build_generator, search_batch
from tiednmt.translation.settings import Search

LENGTHS = [3, 9, 3, 3, 50, 9, 3]


@pytest.fixture(scope="module")
def built():
    return model(dtype=torch.float32).eval()


def batches(generator, **limits):
    sources = {i: torch.full((length,), 5) for i, length in enumerate(LENGTHS)}
    found = list(batches_for(generator, sources, **limits))
    assert sorted(i for batch in found for i in batch) == [*sources]
    return [[LENGTHS[i] for i in batch] for batch in found]


def test_our_search_mixes_lengths_up_to_the_limits(built):
    ours = TiedSequenceGenerator([built], JOINT)
    assert batches(ours, max_tokens=27) == [[50], [9, 9, 3], [3, 3, 3]]
    assert batches(ours, max_tokens=1000, max_sentences=4) == [[50, 9, 9, 3], [3, 3, 3]]


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0}])
def test_fairseqs_search_gets_one_length_at_a_time(built, options):
    cls = TiedSequenceGenerator if options else SequenceGenerator
    generator = cls([built], JOINT, **options)
    assert batches(generator, max_tokens=1000) == [[50], [9, 9], [3, 3, 3, 3]]
    assert batches(generator, max_tokens=9, max_sentences=2) == [[50], [9], [9], [3, 3], [3, 3]]


@pytest.mark.parametrize("left_pad", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("members", [1, 2])
def test_a_sentence_is_translated_as_it_is_alone(built, members, left_pad, threads, monkeypatch):
    """Also up to the limit of its length, to which an untrained model's translations go."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # two: in two processes
    models = [built, model(dtype=torch.float32).eval()][:members]
    for each in models:
        monkeypatch.setattr(each, "_is_generation_fast", True, raising=False)

    def build(models, args):
        options = {"beam_size": args.beam, "len_penalty": args.lenpen}
        lengths = {"max_len_a": args.max_len_a, "max_len_b": args.max_len_b}
        return TiedSequenceGenerator(models, JOINT, **options, **lengths)

    task = SimpleNamespace(
        source_dictionary=JOINT,
        cfg=SimpleNamespace(left_pad_source=left_pad),
        build_generator=build,
        inference_step=lambda generator, models, sample: generator.generate(models, sample),
    )
    generator = build_generator(task, models, Search(3))
    sources = [torch.tensor([4 + i % 5] * length + [2]) for i, length in enumerate(LENGTHS)]
    with torch.no_grad():
        together = search_batch(task, models, generator, sources)
        alone = [search_batch(task, models, generator, [source])[0] for source in sources]
    generator.close()
    at_limit = 0
    for source, several, expected in zip(sources, together, alone, strict=True):
        for one, other in zip(several, expected, strict=True):
            assert one["tokens"].tolist() == other["tokens"].tolist()
            assert one["attention"].shape == (len(source), len(one["tokens"]))
            for name in ("score", "positional_scores", "attention"):
                torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=1e-5)
            assert len(one["tokens"]) - 1 <= int(1.2 * len(source) + 10)
            at_limit += len(one["tokens"]) - 1 == int(1.2 * len(source) + 10)
    assert at_limit


@pytest.mark.parametrize("arch", TRANSLATORS)
def test_details_of_a_line_are_those_it_has_alone(arch, prepared, tmp_path):
    save_translator(tmp_path / "c.pt", prepared, arch)
    translator = tiednmt.load(tmp_path / "c.pt", data=prepared)
    lines = [*LINES, " ".join(LINES)]
    together = translator.translate(lines, details=True)
    for line, found in zip(lines, together, strict=True):
        (alone,) = translator.translate([line], details=True)
        assert (found.text, found.alignment) == (alone.text, alone.alignment)
        assert found.score == pytest.approx(alone.score, abs=1e-5)
        for row, other in zip(found.attention, alone.attention, strict=True):
            assert row == pytest.approx(other, abs=1e-5)
