"""A prepared folder of two made-up languages, and models that were trained on it."""

from __future__ import annotations

import json
import random
from collections import Counter
from io import BytesIO

from fairseq.data import Dictionary

from tests.support.small_training import train, write_text
from tiednmt.text.bpe import learn_merges
from tiednmt.text.pipeline import TextPipeline, TextSettings

LETTERS = {"en": "abcdefgh", "de": "efghijkl"}  # half of them are of both


def words_of(language, count=30, seed=2):
    chance = random.Random(f"{language} {seed}")
    return [
        "".join(chance.choices(LETTERS[language], k=chance.randint(2, 7))) for _ in range(count)
    ]


def sentences(language, count, seed=3, words=None):
    chance = random.Random(f"{language} {seed}")
    words = words or words_of(language)
    return [" ".join(chance.choices(words, k=chance.randint(1, 6))) for _ in range(count)]


def prepare(folder, segmentation="bpe", merges=60, threshold=2, joint=True):
    """Raw text, segmentation, dictionaries, manifest, and fairseq's raw data."""
    text = {code: sentences(code, 60) for code in LETTERS}
    settings = TextSettings("en", "de", segmentation, threshold)
    bpe, data_bin, raw, tokenised = (
        folder / name for name in ("bpe", "data-bin", "raw", "tokenised")
    )
    for each in (bpe, data_bin, raw, tokenised):
        each.mkdir(parents=True)
    words = {code: Counter(w for line in text[code] for w in line.split()) for code in text}
    if segmentation == "bpe":
        both = words["en"] + words["de"]
        codes = [" ".join(pair) for pair in learn_merges(sorted(both.items()), merges)]
        (bpe / "codes").write_text("#version: 0.2\n" + "\n".join(codes) + "\n")
    else:
        (bpe / "sentencepiece.model").write_bytes(_sentencepiece(text, merges))
    for threshold_is_off in (True, False):  # counts of all units, then of those that are used
        if threshold_is_off:
            for code in text:
                (bpe / f"vocab.{code}").write_text("")
        pipeline = TextPipeline(settings, bpe)
        if threshold_is_off:
            counts = _all_units(pipeline, text, bpe, segmentation)
            for code, units in counts.items():
                lines = (f"{unit} {count}\n" for unit, count in units.most_common())
                (bpe / f"vocab.{code}").write_text("".join(lines))
    units = {
        code: Counter(u for line in text[code] for u in pipeline.encode(line, code).split())
        for code in text
    }
    for code in text:
        dictionary = Dictionary()
        counted = units["en"] + units["de"] if joint else units[code]
        for unit, count in counted.items():
            dictionary.add_symbol(unit, count)
        dictionary.finalize(padding_factor=8)
        dictionary.save(str(data_bin / f"dict.{code}.txt"))
        ranked = sorted(words[code].items())
        (tokenised / f"words.{code}").write_text("".join(f"{w} {c}\n" for w, c in ranked))
        for name, lines in (
            ("train", text[code]),
            ("valid", text[code][:10]),
            ("test", text[code][:10]),
        ):
            (raw / f"{name}.{code}").write_text("".join(f"{line}\n" for line in lines))
            write_text(
                data_bin / f"{name}.en-de.{code}",
                [pipeline.encode(line, code).split() for line in lines],
            )
    manifest = {
        "format": 2,
        "source": "en",
        "target": "de",
        "subsets": {"valid": "valid", "test": "test"},
        "options": {},
        "text": settings.for_manifest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _all_units(pipeline, text, bpe, segmentation):
    from tiednmt.vocabulary.files import read_subwords

    subwords = read_subwords(bpe, pipeline.settings)
    return {
        code: Counter(
            unit
            for line in text[code]
            for token in subwords.tokens(line, code)
            for unit in subwords.written(token)
        )
        for code in text
    }


def _sentencepiece(text, size):
    from sentencepiece import SentencePieceTrainer

    content = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([*text["en"], *text["de"]]),
        model_writer=content,
        model_type="bpe",
        vocab_size=size,
        character_coverage=1.0,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return content.getvalue()


def trained_on(prepared, save_dir, tying="three-way", updates=8, **parts):
    """A checkpoint of a model that was trained for some updates."""
    parts = {"optimization": {"max_update": updates}, **parts}
    model = {"tying": tying, **parts.pop("model", {})}
    return train(prepared / "data-bin", save_dir, model=model, **parts)
