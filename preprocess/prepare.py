"""Prepare a parallel corpus, from raw files to everything that training and scoring need.

:func:`prepare` runs the stages: read, tokenise, learn, apply, binarise. A corpus is a file beside
this one that says where its text comes from and calls it.

A large training text is dealt out to parts, pair by pair, so that each is a fair sample of the
whole. Each part is read, tokenised, segmented and binarised by itself (``data-bin/shard0``, …), so
an interruption loses little, and parts can be divided among machines. Memory depends neither on the
size of the text nor on that of a part: at most about 2 GB, for learning merges from the million
most frequent words, and 300 MB per process.
"""

from __future__ import annotations

import shlex
import sys
from itertools import chain
from pathlib import Path
from textwrap import fill

from preprocess import report, vocabulary
from preprocess.advice import Pair, advise, what_is_shared
from preprocess.corpus import TRAIN, VALID, Corpus, Options
from preprocess.manifest import write_manifest
from preprocess.overlap import Overlap
from preprocess.plan import JOIN, LONGEST_HELD_OUT, READ, Plan
from preprocess.stages import Stages, WorkShard, corpus_key, one_writer
from preprocess.training import architecture_for, scoring_command, training_command
from tiednmt.files import refuse_what_is_no_file
from tiednmt.modes import THREE_WAY
from tiednmt.text.manifest import data_bins
from tiednmt.text.pipeline import BPE, PACKAGES

PACKAGES_USED = ("fairseq", "sacremoses", "subword-nmt", "sentencepiece")


def reads(share: WorkShard) -> bool:
    """Whether the raw files are needed for this share of the work."""
    return share.step in (None, READ)


def prepare(corpus: Corpus, dest: Path, options: Options, share: WorkShard | None = None) -> None:
    """Fill ``dest`` from the raw files and print a summary.

    Stages that are up to date are skipped. If it is killed at any moment and called again, it
    leaves the same bytes, in however many shares. Without ``share``, everything is done.

    Raises:
        UserError: a file is bad, the folder cannot be written, nothing is left to train on or
            another share has not done what this one needs.
    """
    share = share or WorkShard()
    if reads(share):
        require_files(corpus)
    with one_writer(dest, shared=share.of > 1):
        _fill(corpus, dest, options, share)


def _fill(corpus: Corpus, dest: Path, options: Options, share: WorkShard) -> None:
    stages = Stages(dest, corpus_key(corpus.name, *corpus.languages))
    plan = Plan(corpus, stages, options)
    stages.run_shard(plan.stages, share)
    if share.step not in (None, JOIN):
        return
    files = stages.finish(plan.stages)
    write_manifest(dest, plan.manifest(), PACKAGES_USED, files)
    _report(plan)


def require_files(corpus: Corpus) -> None:
    """Refuse a corpus whose files are not there.

    Raises:
        UserError: naming the first of them.
    """
    for path in chain.from_iterable(map(corpus.paths, corpus.names)):
        refuse_what_is_no_file(path)


def _report(plan: Plan) -> None:
    """Print what was kept, how text comes back, the vocabulary, and the next commands."""
    report_text(plan)
    print(vocabulary.report(*plan.languages, plan.vocabulary()))
    tying = THREE_WAY
    if overlap := plan.overlap():
        pair = Pair.of("-".join(plan.languages), plan.vocabulary(), Overlap.from_json(overlap))
        tying = advise(pair).tying
        print(f"\n{_advice(plan, pair, Overlap.from_json(overlap))}")
    warn(plan, plan.segmentation)
    if plan.options.commands:
        print(f"\nNext:\n{_commands(plan, tying)}")


def report_text(plan: Plan) -> None:
    """Print what was kept and how text comes back from its units."""
    words = "Moses' tokens" if plan.segmentation == BPE else "raw lines"
    method = f"segmentation: {PACKAGES[plan.segmentation]} on {words}"
    trips = report.trips_line(plan.round_trips(), method)
    print("", report.counts_table(plan.counts()), "", trips, sep="\n")


def warn(plan: Plan, method: str = "") -> None:
    """Warn of what is suspicious in the text; ``method``: the segmentation, if it can be chosen."""
    of_training = (plan.counts()[TRAIN], plan.tokenised(TRAIN), plan.round_trips())
    for line in report.warnings(*of_training, method):
        print(line, file=sys.stderr)
    for subset in plan.splits:
        for line in _held_out_warnings(plan, subset) if subset != TRAIN else ():
            print(line, file=sys.stderr)


def _commands(plan: Plan, tying: str) -> str:
    """The command that trains with this tying, and the one that scores."""
    longest = plan.applied(VALID)[0]["longest"]
    folders, tests = data_bins(plan.dest), [*plan.splits][2:]
    scoring = scoring_command(folders, tying, tests or [VALID])
    return f"{training_command(folders, tying, _running_units(plan), longest)}\n{scoring}"


def _running_units(plan: Plan) -> int:
    """Those of the training text, on the side that has more."""
    applied = plan.applied(TRAIN)
    return max(sum(int(part["units"][side]) for part in applied) for side in (0, 1))


def _advice(plan: Plan, pair: Pair, overlap: Overlap) -> str:
    """What the languages have in common, and which tying that suggests."""
    advice = advise(pair)
    texts = [what_is_shared(pair, overlap), f"This suggests {advice}. {' '.join(advice.reasons)}"]
    lines = [fill(text, width=88, break_on_hyphens=False) for text in texts]
    what = f"{shlex.quote(str(plan.dest))} --arch {architecture_for(_running_units(plan))}"
    command = f"python -m scripts.analyse --advise {what}"
    return "\n".join([*lines, f"Model sizes and measured results: {command}"])


def _held_out_warnings(plan: Plan, subset: str) -> list[str]:
    tokenised, applied = plan.tokenised(subset), plan.applied(subset)[0]
    lines = []
    for reason, number in tokenised.faulty.items():
        if reason in report.WHAT_IS_WRONG:
            lines.append(
                f"WARNING: {number:,} pair(s) of {subset} {report.WHAT_IS_WRONG[reason]}, the first"
                f" at {plan.place(subset, tokenised.first_faulty[reason])}"
            )
    copies, read = plan.copies(subset), tokenised.counts["read"]
    if copies > report.MAX_COPIES * read:
        lines.append(
            f"WARNING: {copies:,} of the {read:,} pairs of {subset} are training pairs too, so that"
            " its scores do not tell how the model translates other text"
        )
    if applied["longest"] > LONGEST_HELD_OUT:
        lines.append(
            f"WARNING: {plan.place(subset, applied['place'])}: {applied['longest']:,} subword"
            f" units; models read only the first {LONGEST_HELD_OUT:,}"
        )
    return lines
