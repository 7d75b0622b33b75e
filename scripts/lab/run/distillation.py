"""Sequence-level knowledge distillation: students also learn from their teachers' translations.

Kim and Rush (2016), Sequence-Level Knowledge Distillation, https://aclanthology.org/D16-1139/
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from preprocess.corpus import TRAIN, VALID
from scripts.lab.run.kept import is_current
from scripts.lab.run.processes import call
from tiednmt.errors import one_line_errors
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import RAW, read_manifest
from tiednmt.translation.loading import load_translator


def taught(data: Path, teachers: Sequence[Path], dest: Path) -> Path:
    """Prepare the training pairs of a corpus, and its sources with the teachers' translations.

    Called again after an interruption, it continues where it stopped.

    Args:
        data: the corpus, prepared from raw text.
        teachers: checkpoints of models trained on it; several are an ensemble.
        dest: the folder to fill.

    Returns:
        The prepared corpus, in the units of ``data`` and with its validation set.

    Raises:
        UserError: a step failed.
    """
    manifest = read_manifest(data)
    languages = (manifest["source"], manifest["target"])
    sides = [_training_text(data / RAW, language) for language in languages]
    pairs = []
    for source, target in zip(*sides, strict=True):
        translations = dest / target.name
        if not is_current(translations, source, *teachers):
            words = map(str, (data, source, translations, *teachers))
            call([sys.executable, "-m", __name__, *words])
        pairs += [source, target, source, translations]
    valid = [data / RAW / f"{VALID}.{language}" for language in languages]
    words = map(str, ("--model", data, "--train", *pairs, "--valid", *valid))
    call([sys.executable, "-m", "preprocess.like", *words, "--dest", str(dest / "data")])
    return dest / "data"


def _training_text(raw: Path, language: str) -> list[Path]:
    """The file of the training text, or its parts."""
    name = re.compile(rf"{TRAIN}(\.\d+)?\.{re.escape(language)}")
    return sorted(path for path in raw.iterdir() if name.fullmatch(path.name))


def translate(data: Path, source: Path, translations: Path, teachers: Sequence[Path]) -> None:
    """Translate a file; what an interrupted call has translated is kept."""
    begun = translations.with_name(f"{translations.name}.begun")
    begun.parent.mkdir(parents=True, exist_ok=True)
    if not is_current(begun, source, *teachers):
        begun.unlink(missing_ok=True)
    total = sum(1 for _ in read_lines(source))
    done = _whole_lines(begun)
    print(f"{source}: {len(teachers)} teacher(s), {total - done:,} lines", file=sys.stderr)
    with (
        load_translator(teachers, data) as translator,
        begun.open("a", encoding="utf-8") as output,
        tqdm(total=total, initial=done, unit=" lines", disable=None) as bar,
    ):
        for text in translator.stream(islice(read_lines(source), done, None)):
            output.write(f"{text}\n")
            bar.update()
    os.replace(begun, translations)


def _whole_lines(path: Path) -> int:
    """How many lines a file has, without the last if it lacks its end: that is cut off."""
    with path.open("ab+") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
    return content.count(b"\n")


@one_line_errors
def main() -> None:
    """As :func:`taught` asks for it: DATA SOURCE TRANSLATIONS CHECKPOINT…."""
    data, source, translations, *teachers = map(Path, sys.argv[1:])
    translate(data, source, translations, teachers)


if __name__ == "__main__":
    main()
