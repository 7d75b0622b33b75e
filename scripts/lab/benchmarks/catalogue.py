"""The benchmarks there are."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from scripts.lab.benchmarks import (
    generation,
    gradients,
    growth,
    output_layer,
    preprocessing,
    start_up,
    training,
    updates,
)
from scripts.lab.records.schema import BenchmarkRecord
from scripts.lab.run.provenance import machine
from tiednmt.options import command_words
from tiednmt.packages import package_versions
from tiednmt.typed import from_json, to_json


@dataclass(frozen=True)
class Benchmark:
    """A question about speed and how it is answered."""

    help: str
    what: str  # is measured, and in what unit
    options: type  # a dataclass of options
    measure: Callable[[Any], dict[str, Any]]  # of such options


BENCHMARKS = {
    "train": Benchmark(
        help="training a translation model, against fairseq's, JoeyNMT's or torch's",
        what=training.WHAT,
        options=training.Translation,
        measure=training.measure_translation,
    ),
    "updates": Benchmark(
        help="updates of a translation model after warm-up, against fairseq's",
        what=updates.WHAT,
        options=updates.Updates,
        measure=updates.measure,
    ),
    "start-up": Benchmark(
        help="from the command to the first update, against fairseq's",
        what=start_up.WHAT,
        options=start_up.StartUp,
        measure=start_up.measure,
    ),
    "growth": Benchmark(
        help="updates as vocabulary, sentences and batches grow, against fairseq's",
        what=growth.WHAT,
        options=growth.Growth,
        measure=growth.measure,
    ),
    "language-model": Benchmark(
        help="training a language model, against a bare loop or fairseq's lstm_lm",
        what=training.WHAT,
        options=training.LanguageModel,
        measure=training.measure_language_model,
    ),
    "generate": Benchmark(
        help="beam search, against fairseq's or CTranslate2's",
        what=generation.WHAT,
        options=generation.Generation,
        measure=generation.measure,
    ),
    "output-layer": Benchmark(
        help="loss and gradients of the output layer, against linear + cross_entropy or kernels",
        what=output_layer.WHAT,
        options=output_layer.Loss,
        measure=output_layer.measure,
    ),
    "gradients": Benchmark(
        help="training with --measure-gradients, against training without",
        what=gradients.WHAT,
        options=gradients.Gradients,
        measure=gradients.measure,
    ),
    "preprocess": Benchmark(
        help="raw text to data-bin, against the usual scripts",
        what=preprocessing.WHAT,
        options=preprocessing.Preprocessing,
        measure=preprocessing.measure,
    ),
}


def run(name: str, options: Any) -> BenchmarkRecord:
    """The record of one of ``BENCHMARKS``: its figures, where they were measured, the command."""
    benchmark = BENCHMARKS[name]
    content = {
        "kind": "benchmark",
        "experiment": f"benchmark-{name}",
        "title": benchmark.what,
        **benchmark.measure(options),
        "machine": to_json(replace(machine(1), threads_per_run=options.threads)),
        "versions": package_versions("sacremoses", "subword-nmt"),
        "command": command_of(name, options),
    }
    record: BenchmarkRecord = from_json(BenchmarkRecord, content)
    return record


def command_of(name: str, options: Any) -> str:
    """The command line that anybody can repeat."""
    return shlex.join(["python", "-m", "scripts.benchmark", name, *command_words(options)])
