"""What fairseq's own errors mean, in one line that names the option or file and the way out.

They are known by their messages, or by the place in fairseq that raises them.
"""

from __future__ import annotations

import pickle
import re
import traceback
from collections.abc import Iterator

NO_CONFIGURATION = "holds no configuration, so it is not a checkpoint of fairseq-train"


def line_for(error: BaseException) -> str | None:
    """The line for an error of fairseq's or of what it calls; None if none is known."""
    if _refused_by_fairseq(error) or _names_an_option(error):
        return str(error)
    if str(error).startswith("Neither args nor cfg exist in state"):
        checkpoint = checkpoint_in(error, "load_model_ensemble_and_task")
        return f"{checkpoint}: {NO_CONFIGURATION}"
    if (line := _line_for_message(error) or _line_for_value(error)) is not None:
        return line
    if isinstance(error, ImportError | RuntimeError) and "lease install" in str(error):
        return " ".join(str(error).split())  # fairseq's own words, on packages that it may use
    return _line_for_place(error)


def line_for_checkpoint(error: BaseException) -> str | None:
    """The line for an error while fairseq reads a checkpoint; None if it was not reading one."""
    checkpoint = checkpoint_in(error, "load_checkpoint_to_cpu")
    if checkpoint and isinstance(error, pickle.UnpicklingError):
        return (
            f"{checkpoint}: refused, since it is no checkpoint of tensors and plain settings "
            "(a pickle may run any code); use a checkpoint that fairseq wrote"
        )
    if checkpoint and not isinstance(error, OSError | MemoryError):
        return (
            f"{checkpoint}: not a whole checkpoint, cut short or damaged; "
            "copy it again or use another one of its folder"
        )
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, those it was raised from, and those that a library was handling when it raised it.

    fairseq wraps the errors of a load.
    """
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (link.__context__ if _raised_by_a_library(link) else None)


def _raised_by_a_library(error: BaseException) -> bool:
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    libraries = r"[\\/](fairseq|fairseq_cli|hydra|omegaconf|torch)[\\/]"
    return not error.__suppress_context__ and bool(files) and bool(re.search(libraries, files[-1]))


def checkpoint_in(error: BaseException, *functions: str) -> str | None:
    """The checkpoint that one of fairseq's ``functions`` had in hand when ``error`` was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in functions:
            path = frame.f_locals.get("path") or frame.f_locals.get("filename")
            if path:
                return str(path)
    return None


def _refused_by_fairseq(error: BaseException) -> bool:
    """Whether fairseq itself refused to start from a checkpoint, with its own message."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name == "load_checkpoint"


def _names_an_option(error: BaseException) -> bool:
    """Whether fairseq itself refused options with a message that names one of them."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return (
        isinstance(error, AssertionError | ValueError)
        and bool(frames)
        and re.search(r"[\\/]fairseq(_cli)?[\\/]", frames[-1].f_code.co_filename) is not None
        and re.search(r"(^|\s)--[a-z]", str(error)) is not None
    )


_NO_SENTENCE_LEFT = (
    "no sentence of the data is left, all are too long; raise --max-tokens,"
    " --max-source-positions and --max-target-positions, or prepare more text"
)

# fairseq's message about options or data that do not fit together → our line
_TOLD_BY_FAIRSEQ = {
    r"Size of sample #(\d+) is invalid \(=(.*)\) since max_positions=(.*), skip this example": (
        "sentence {0} of the data (counted from 0) has {1} units, more than {2}; raise"
        " --max-source-positions and --max-target-positions (--tokens-per-sample of a language"
        " model), or leave such sentences out with --skip-invalid-size-inputs-valid-test"
    ),
    r"The dataset is empty\. This could indicate": _NO_SENTENCE_LEFT,
    r"[Ss]entences? lengths? should not exceed max_tokens=(\d+)": (
        "--max-tokens {0}: there is a longer sentence; raise it, or leave such sentences out with"
        " --max-source-positions {0} --max-target-positions {0}"
        " --skip-invalid-size-inputs-valid-test"
    ),
    r"Cannot combine manual lr and relative_step": (
        "--optimizer adafactor: --relative-step makes the learning rate itself, and fairseq-train"
        " always gives one; leave out --relative-step (and --warmup-init)"
    ),
    r"warmup_init requires relative_step": "--optimizer adafactor: --warmup-init needs"
    " --relative-step",
    r"Pass-through schedule can only be used": (
        "--lr-scheduler pass_through: goes with --optimizer composite alone; choose another one"
    ),
    r"Unsupported language modeling target: (self|past)": (
        "--{0}-target: these models predict the next unit alone; leave the option out"
    ),
    r"shard_id must be between 0 and num_shards": (
        "--shard-id: must be from 0 to below --num-shards"
    ),
    r"--post-process=(.*) is not implemented": (
        "--post-process {0}: fairseq-eval-lm joins no such units; use subword_nmt"
    ),
    r"min_len cannot be larger than max_len": (
        "--min-len: more units than the translation of a sentence may have; lower it, or raise"
        " --max-len-a or --max-len-b"
    ),
    r"selected index k out of range": (
        "--sampling-topk: more units than the dictionary has; lower it"
    ),
    r"Unknown post_process option: (.*)": (
        "--post-process {0}: no such units; use subword_nmt, sentencepiece, wordpiece or letter"
    ),
    r"preprocessing\.py doesn't support Huffman": (
        "--dataset-impl huffman: fairseq-preprocess does not write it; leave the option out"
    ),
    r"AdaptiveLoss is not compatible with the PyTorch version of": (
        "--criterion adaptive_loss: needs --ddp-backend legacy_ddp, and a model with"
        " --adaptive-softmax-cutoff"
    ),
}


_TOLD_BY_TORCH = {
    r"\[enforce fail at alloc.*you tried to allocate (\d+) bytes": (
        "not enough memory for {0} more bytes; use a smaller model (--embed-dim and the like)"
        " or smaller batches (--max-tokens)"
    ),
}


def _line_for_message(error: BaseException) -> str | None:
    """The line for an error of theirs whose message names no option, or that is a traceback."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    told = _TOLD_BY_TORCH | (_TOLD_BY_FAIRSEQ if any("fairseq" in file for file in files) else {})
    plain = re.sub(r"np\.\w+\((\d+)\)", r"\1", str(error))  # numpy's way to show a number
    for pattern, line in told.items():
        if match := re.match(pattern, plain):
            return line.format(*match.groups())
    return None


def _line_for_value(error: BaseException) -> str | None:
    """The line for a value that does not fit into fairseq's configuration."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_override_attr" and "val" in frame.f_locals:
            return _not_a_value(frame.f_locals["k"], str(frame.f_locals["val"]))
    for cause in chain(error):
        words = f"{getattr(cause, 'override', '')} {cause}"
        if type(cause).__module__.startswith("hydra.") and (
            match := re.search(r"^(?:.*Error merging override )?[\w.]*?(\w+)=(.*)", words)
        ):
            return _not_a_value(match[1], match[2].splitlines()[0])
    return None


def _not_a_value(name: str, value: str) -> str:
    option = f"--{name.replace('_', '-')}"
    if value in ("null", "None"):
        return f"{option}: needed with these options; give it a value"
    return f"{option} {value}: not a value of this option"


# an error that only this file of fairseq's raises in this way → our line, with the error's argument
_TOLD_BY_PLACE: dict[tuple[type[Exception], str], str] = {
    (KeyError, "fairseq_cli/train.py"): (
        "--best-checkpoint-metric {0}: validation has no figure of this name"
    ),
    (KeyError, "fairseq/options.py"): (
        "--task: needed by this command, as it was in training; for example --task translation"
    ),
    (IndexError, "fairseq/data/data_utils.py"): _NO_SENTENCE_LEFT,
    (ZeroDivisionError, "fairseq_cli/generate.py"): (
        "no sentence was translated: all are too long; raise --max-source-positions"
    ),
    (AssertionError, "fairseq/criterions/adaptive_loss.py"): (
        "--criterion adaptive_loss: needs a model with --adaptive-softmax-cutoff, which tied ones"
        " have not; use tied_cross_entropy"
    ),
    (AttributeError, "fairseq/tasks/translation_from_pretrained_bart.py"): (
        "--task translation_from_pretrained_bart: fails in fairseq with every model; use"
        " --task translation"
    ),
    (TypeError, "optim/lr_scheduler/manual_lr_scheduler.py"): (
        "--epoch2lr and --update2lr: must be like \"{{'1-3': 0.1, '4': 0.05}}\""
    ),
}


def _line_for_place(error: BaseException) -> str | None:
    """The line for an error of fairseq's that is known by the file it comes from."""
    for (kind, file), line in _TOLD_BY_PLACE.items():
        if isinstance(error, kind) and _raised_in(error, file):
            return line.format(*error.args)
    return None


def _raised_in(error: BaseException, file: str) -> bool:
    """Whether this file of fairseq's raised the error itself, and not something that it calls."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_filename.endswith(file)
