r"""Prepare your own text for a trained model: in its units, with its dictionary.

  python -m preprocess.like --model DIR --train a.en a.cs [b.tsv …] --valid v.en v.cs \
      [--test NAME=t.en,t.cs]… --dest NEW [--tag '<2cs>']

DIR is a prepared folder, one that tiednmt vocabulary wrote, or a model folder (tiednmt export).
Files are those that preprocess.bitext takes, in the languages of the model. Training pairs with an
empty side are dropped; nothing else is filtered. --tag puts a unit of the model before each source
sentence, such as the language to translate it to. tiednmt translate and evaluate do the same with a
model that was trained on NEW.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from preprocess.binarise import SHARED_UNITS
from preprocess.bitext import add_text_arguments, corpus_from
from preprocess.command import parser_of
from preprocess.corpus import TRAIN, Corpus, Options
from preprocess.manifest import write_manifest
from preprocess.options import CommonOptions, add_corpus_options
from preprocess.plan import ENCODE, LEARN, Plan
from preprocess.prepare import PACKAGES_USED, report_text, require_files, warn
from preprocess.stages import Stage, Stages, corpus_key, one_writer
from tiednmt.errors import UserError, resumable_command
from tiednmt.files import named_when_whole, write_whole
from tiednmt.options import from_arguments, option
from tiednmt.text.counts import read_counts
from tiednmt.text.lines import read_lines
from tiednmt.text.manifest import SEGMENTATION, data_bins, read_manifest
from tiednmt.text.pipeline import TextPipeline, TextSettings
from tiednmt.text.subwords import vocabulary_files


@dataclass(frozen=True)
class Model:
    """The folder of a model whose units and dictionary other text gets.

    It is the prepared folder of a checkpoint, or a model folder.

    Raises:
        UserError: it is not such a folder, or its languages have different dictionaries.
    """

    folder: Path

    def __post_init__(self) -> None:
        source, target = (
            self.dictionaries / f"dict.{code}.txt" for code in self.pipeline.languages
        )
        if source.read_bytes() != target.read_bytes():
            raise UserError(
                f"{self.folder}: has one dictionary per language; segment the text with its"
                f" {self.pipeline.folder.name} folder and use fairseq-preprocess --srcdict"
                " --tgtdict"
            )

    @cached_property
    def pipeline(self) -> TextPipeline:
        """The text pipeline of the model."""
        return TextPipeline.of_either(self.folder)

    @property
    def is_exported(self) -> bool:
        """Whether it is a model folder."""
        return self.pipeline.folder.name == SEGMENTATION

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of a prepared folder; a model folder has none."""
        return {} if self.is_exported else read_manifest(self.folder)

    @property
    def dictionaries(self) -> Path:
        """The folder with its dictionaries."""
        return self.folder if self.is_exported else data_bins(self.folder)[0]

    @property
    def dictionary(self) -> Path:
        """The dictionary of both languages."""
        return self.dictionaries / f"dict.{self.pipeline.source}.txt"

    @property
    def shared_units(self) -> Path | None:
        """The list of units that both languages use, if the folder has one."""
        path = self.dictionaries / SHARED_UNITS
        return path if path.is_file() else None

    @cached_property
    def units(self) -> set[str]:
        """The units in the dictionary."""
        return {unit for unit, _ in read_counts(self.dictionary)}


class PlanLike(Plan):
    """The stages that prepare a corpus in the units of a model."""

    hint = "each has an empty side; are the files aligned line by line?"

    def __init__(
        self, corpus: Corpus, results: Stages, model: Model, tag: str = "", workers: int = 1
    ):
        settings = replace(model.pipeline.settings, tag=tag)
        no_bound = 10**9
        options = Options(
            segmentation=settings.segmentation,
            vocabulary_threshold=settings.threshold,
            max_length=no_bound,
            max_ratio=no_bound,
            workers=workers,
        )
        super().__init__(corpus, results, options)
        self.model = model
        self.tag = tag
        self.pipeline = TextPipeline(settings, self.layout.model)

    def settings(self) -> TextSettings:
        """The settings of the model, so that its output is decoded like its own, and the tag."""
        return self.pipeline.settings

    def manifest(self) -> dict[str, Any]:
        """The model's manifest, with this text in place of its own."""
        model = self.model.manifest
        gone = ("files", "versions", "vocabulary", "overlap")
        kept = {key: value for key, value in model.items() if key not in gone}
        merges = model.get("options", {}).get("merges")
        options = {
            "segmentation": self.segmentation,
            "vocabulary_threshold": self.options.vocabulary_threshold,
            **({} if merges is None else {"merges": merges}),
            **({"tag": self.tag} if self.tag else {}),
        }
        return {**kept, **self._manifest(options)}

    def _of_units(self) -> list[Stage]:
        """The stage that copies the subword model and the dictionary."""
        of_all_languages = vocabulary_files(self.model.pipeline.folder).values()
        originals = dict.fromkeys([*self.model.pipeline.files, *of_all_languages])
        copied = {self.layout.model / path.name: path for path in originals}
        copied[self.layout.dictionary] = self.model.dictionary
        if self.model.shared_units:
            copied[self.layout.shared_units] = self.model.shared_units
        parts = self.layout.training_parts

        def copy() -> None:
            self._require_pairs()
            for path, original in copied.items():
                with named_when_whole(path) as partial_copy:
                    shutil.copyfile(original, partial_copy)

        return [
            Stage(
                "units",
                copy,
                inputs=[*copied.values(), *(path for part in parts for path in part.files)],
                outputs=list(copied),
                step=LEARN,
            )
        ]

    def _of_dictionary(self) -> list[Stage]:
        """The stage that lists the units that both languages use, if the model has no list."""
        if self.model.shared_units:
            return []
        sides = self.layout.segmented(TRAIN, 0)
        return [
            Stage(
                "shared units",
                partial(_write_shared, sides, self.model.units, self.layout.shared_units),
                inputs=[*sides, self.layout.dictionary],
                outputs=[self.layout.shared_units],
                step=ENCODE,
            )
        ]


def _write_shared(sides: Sequence[Path], known: set[str], path: Path) -> None:
    source, target = map(_units_in, sides)
    with write_whole(path) as file:
        file.writelines(f"{unit}\n" for unit in sorted(source & target & known))


def _units_in(path: Path) -> set[str]:
    return {unit for line in read_lines(path) for unit in line.split()}


def prepare_like(folder: Path, dest: Path, corpus: Corpus, tag: str = "", workers: int = 1) -> None:
    """Segment and binarise text like that of a model, and print a summary.

    Stages that are up to date are skipped. If it is killed at any moment and called again, it
    leaves the same bytes.

    Args:
        folder: a prepared folder or a model folder, whose languages have one joint dictionary.
        dest: the folder to fill.
        corpus: the text, in these languages.
        tag: a unit to put before each source sentence.
        workers: processes; 0: one per core.

    Raises:
        UserError: a file is missing or bad, nothing is left to train on, the dictionaries are not
            joint, or the folder cannot be written.
    """
    model = Model(folder)
    require_files(corpus)
    if dest.resolve() == folder.resolve():
        raise UserError(f"--dest {dest}: is the folder of the model; choose another one")
    if tag and tag not in model.units:
        raise UserError(f"--tag {tag}: is not a unit of the model; add it with --symbols")
    with one_writer(dest):
        stages = Stages(dest, corpus_key(corpus.name, *corpus.languages))
        plan = PlanLike(corpus, stages, model, tag, workers)
        for stage in plan.stages:
            stages.run(stage)
        files = stages.finish(plan.stages)
        write_manifest(dest, plan.manifest(), PACKAGES_USED, files)
    report_text(plan)
    warn(plan)


@dataclass(frozen=True)
class LikeOptions(CommonOptions):
    """How the text is prepared beyond what the model says."""

    tag: str = option("unit before each source sentence", default="", metavar="UNIT")


@resumable_command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = parser_of("like", __doc__)
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="prepared folder or model folder"
    )
    add_text_arguments(parser)
    add_corpus_options(parser, LikeOptions)
    args = parser.parse_args(argv)
    options = from_arguments(LikeOptions, args)
    corpus = corpus_from(args, "like", TextPipeline.of_either(args.model).languages)
    prepare_like(args.model, args.dest, corpus, options.tag, options.workers)
    print(f"{args.dest / 'data-bin'}: for fairseq-train, anew or with --finetune-from-model")


if __name__ == "__main__":
    main()
