"""Language modelling over continuous streams, with the recurrent state carried along."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.data import FairseqDataset, data_utils
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY, BaseFairseqModel
from fairseq.optim import FairseqOptimizer
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from omegaconf import II

from tiednmt.checkpoints import registered_name
from tiednmt.errors import UserError
from tiednmt.models.language_model import LanguageModel
from tiednmt.modules import CarriedState
from tiednmt.options import option_name
from tiednmt.tasks.streams import Batch, CarriedStreams, StreamIterator, StreamWindows, TokenStream

BLOCK_OPTIONS = {
    # options of language_modeling that have no meaning for streams, and their defaults
    "self_target": False,
    "past_target": False,
    "add_bos_token": False,
    "shorten_method": "none",
    "pad_to_fixed_length": False,
    "pad_to_fixed_bsz": False,
}


@dataclass
class TiedLanguageModelingConfig(LanguageModelingConfig):
    """Options of ``--task tied_language_modeling``: those of ``language_modeling``."""

    tokens_per_sample: int = field(
        default=35,
        metadata={
            "help": "window size: each update reads this many tokens of every stream "
            "(--batch-size is the number of streams per worker)"
        },
    )
    seed: int = II("common.seed")
    train_subset: str = II("dataset.train_subset")


@register_task("tied_language_modeling", dataclass=TiedLanguageModelingConfig)
class TiedLanguageModelingTask(LanguageModelingTask):
    """``--sample-break-mode none`` (the default): the corpus is one sequence, cut into streams.

    The order is fixed, every token is predicted once per epoch, and a model that carries a state
    takes it from window to window; each epoch and each validation starts with an empty state. With
    ``eos``, ``complete`` or ``complete_doc``, samples are independent, as in fairseq's
    ``language_modeling``: for corpora of sentences that do not continue each other.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.training_state = CarriedStreams()
        self.validation_state = CarriedState()
        if self.args.tokens_per_sample < 1:
            raise UserError(f"--tokens-per-sample {self.args.tokens_per_sample}: must be above 0")
        for name, default in BLOCK_OPTIONS.items():
            if self.continuous and getattr(self.args, name) != default:
                raise UserError(
                    f"{option_name(name)} has no meaning for continuous streams; "
                    "leave it out, or give --sample-break-mode eos"
                )
        if self.args.output_dictionary_size >= 0:
            raise UserError(
                "--output-dictionary-size: the input embedding has the vocabulary of the output "
                "embedding; prepare the text with a smaller --vocabulary instead"
            )

    @property
    def continuous(self) -> bool:
        """Whether the text is read as streams."""
        return self.args.sample_break_mode == "none"

    def build_model(self, args: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """fairseq's.

        Raises:
            UserError: an architecture that cannot carry a state.
        """
        arch = registered_name(args)
        if not issubclass(ARCH_MODEL_REGISTRY.get(arch, object), LanguageModel):
            carry = (n for n, kind in MODEL_REGISTRY.items() if issubclass(kind, LanguageModel))
            raise UserError(
                f"--arch {arch}: carries no state from window to window; use one of "
                f"{', '.join(sorted(carry))}, or --task language_modeling"
            )
        return super().build_model(args, from_checkpoint)

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **_: Any) -> None:
        """Load a split; with ``combine``, its continuations (``train1``, ``train2``, …) too."""
        if not self.continuous:
            super().load_dataset(split, epoch=epoch, combine=combine)
            return
        paths = utils.split_paths(self.args.data)
        path = f"{paths[(epoch - 1) % len(paths)]}/{split}"
        if os.path.exists(f"{path}.bin") and not os.path.getsize(f"{path}.bin"):
            raise UserError(f"{path}.bin holds no tokens; prepare the corpus again")
        sentences = data_utils.load_indexed_dataset(
            path, self.dictionary, self.args.dataset_impl, combine=combine
        )
        if sentences is None:
            raise UserError(
                f"{path}.bin: no such file; python -m preprocess.text (or "
                "fairseq-preprocess --only-source) makes it"
            )
        self.datasets[split] = TokenStream(sentences, path)

    def get_batch_iterator(
        self,
        dataset: FairseqDataset,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        seed: int = 1,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        **options: Any,
    ) -> Any:
        """Windows over ``max_sentences`` streams per worker (or as many as ``max_tokens`` holds).

        Raises:
            UserError: the corpus is too small for that many streams of that window, or the window
                of all is more than ``max_tokens``.
        """
        common = {
            "seed": seed,
            "shard_id": shard_id,
            "num_workers": num_workers,
            "epoch": epoch,
        }
        if not isinstance(dataset, TokenStream):
            return super().get_batch_iterator(
                dataset,
                max_tokens=max_tokens,
                max_sentences=max_sentences,
                num_shards=num_shards,
                data_buffer_size=data_buffer_size,
                **common,
                **options,
            )
        windows = self._windows(dataset, max_tokens, max_sentences, num_shards)
        return StreamIterator(
            windows,
            self.training_state,
            buffer_size=data_buffer_size,
            skip_remainder_batch=options.get("skip_remainder_batch", False),
            **common,
        )

    def _windows(
        self, stream: TokenStream, max_tokens: int | None, max_sentences: int | None, workers: int
    ) -> StreamWindows:
        """The windows of an epoch.

        Outside of training they may be shorter than ``--tokens-per-sample``: with a state carried
        along, their length changes no figure.
        """
        window = self.args.tokens_per_sample
        streams = max_sentences or (max_tokens or 0) // window
        if streams < 1:
            raise UserError(
                f"--max-tokens {max_tokens}: less than a window of {window} tokens; give the "
                "number of streams as --batch-size"
            )
        if stream is not self.datasets.get(self.args.train_subset):
            window = min(window, max(1, len(stream) // (streams * workers)))
        if max_tokens and streams * window > max_tokens:
            raise UserError(
                f"--max-tokens (or --max-tokens-valid) {max_tokens}: less than {window} tokens of "
                f"each of {streams} streams (--batch-size); leave it out"
            )
        return StreamWindows(stream, streams, workers, window, self.dictionary.eos())

    def train_step(
        self,
        sample: Batch,
        model: BaseFairseqModel,
        criterion: FairseqCriterion,
        optimizer: FairseqOptimizer,
        update_num: int,
        ignore_grad: bool = False,
        **options: Any,
    ) -> Any:
        """fairseq's step, from the state at the end of the last window."""
        # a worker without a part in the last window repeats another batch, which must not count
        state = CarriedState() if ignore_grad else self.training_state
        if "window" in sample and not ignore_grad:
            self.training_state.begin(sample["window"], update_num)
            if not sample["whole"]:  # some streams alone, and the epoch ends
                state = self.training_state.copy()
        attach(sample, state)
        return super().train_step(
            sample, model, criterion, optimizer, update_num, ignore_grad, **options
        )

    def end_update(self) -> None:
        """Collect the state for a checkpoint, after each update.

        See :func:`tiednmt.patches.processes.end_updates_together`.
        """
        if self.training_state.state is not None:
            self.training_state.gather()

    def valid_step(
        self, sample: Batch, model: BaseFairseqModel, criterion: FairseqCriterion, **options: Any
    ) -> Any:
        """fairseq's step, from the state at the end of the window before."""
        attach(sample, self.validation_state)
        return super().valid_step(sample, model, criterion, **options)

    def eval_lm_dataloader(
        self, dataset: FairseqDataset, batch_size: int | None = None, **options: Any
    ) -> Any:
        """Batches of ``fairseq-eval-lm``; streams carry their state, one stream by default."""
        if not isinstance(dataset, TokenStream):
            return super().eval_lm_dataloader(dataset, batch_size=batch_size, **options)
        if options.pop("context_window", 0):
            raise UserError(
                "--context-window: streams carry their state, so every token has all that comes "
                "before it as context; leave the option out"
            )
        options["max_tokens"] = None
        batches = self.get_batch_iterator(dataset, max_sentences=batch_size or 1, **options)
        return CarryingIterator(batches.next_epoch_itr(shuffle=False))


class CarryingIterator:
    """Windows in order, each with the state at the end of the one before.

    Running the model on the ``net_input`` of a batch updates the state for the next.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        state = CarriedState()
        for batch in self.batches:
            attach(batch, state)
            yield batch


def attach(sample: Batch, state: CarriedState) -> None:
    """Let the model start this window from ``state`` and replace it by the state at its end."""
    if "window" not in sample:
        return
    if sample["window"] == 0:
        state.clear()
    sample["net_input"]["carried"] = state
