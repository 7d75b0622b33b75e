"""The base of every architecture here: tied matrices, one output layer, a stepper."""

import logging
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, TypeVar

from fairseq import hub_utils
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel, FairseqLanguageModel
from fairseq.tasks import TASK_DATACLASS_REGISTRY, FairseqTask, setup_task
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from tiednmt.errors import CheckpointError, UserError
from tiednmt.models import habits
from tiednmt.models.embedding_options import with_found_units
from tiednmt.models.held_rows import HeldRows, is_row_range, train_rows_alone
from tiednmt.models.model_options import with_all_options
from tiednmt.models.parameters import OURS, ParameterNames
from tiednmt.models.stock import StockModel
from tiednmt.models.word_vectors import start_from_vectors
from tiednmt.modules import OutputLayer
from tiednmt.modules.dropout import Dropping, owners_in
from tiednmt.modules.frozen_linear import FrozenLinear, PackedLinear
from tiednmt.modules.linear import freeze, set_matmul_precision
from tiednmt.modules.lookup import LookupScale
from tiednmt.search.stepper import Stepper
from tiednmt.tuned_process import tune_process
from tiednmt.tying import (
    INPUT,
    SOURCE_INPUT,
    TARGET_INPUT,
    Embeddings,
    TieMap,
    guard_checkpoints,
    matrices,
)
from tiednmt.tying import tie_map as tie_map_of

logger = logging.getLogger(__name__)

VECTORS_FAULT = "vectors"

Self = TypeVar("Self", bound="TiedModel")


class TiedModel(BaseFairseqModel):
    """A model with tied matrices; checkpoints store each once and fit only its vocabularies."""

    parameter_names: ClassVar[ParameterNames] = OURS
    stock: ClassVar[StockModel | None] = None  # the model of fairseq that it can stand in for
    fits_cuda_graphs: ClassVar[bool] = False  # in tiednmt.modules.packing.padding_stays
    num_updates = 0  # of training, before the batch at hand
    held_rows: HeldRows | None = None  # that training leaves as they are
    training_faults: Mapping[str, str] = {}  # why it cannot be trained, by what is at fault

    # --- building ------------------------------------------------------------------------------

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the options of the model, and what users of fairseq's own models type instead."""
        super().add_args(parser)
        habits.add_options(parser, cls)

    @classmethod
    def build_model(cls: type[Self], cfg: Any, task: FairseqTask) -> Self:
        """Build from the task's dictionaries and log the tie map; fairseq calls this."""
        is_language_model = issubclass(cls, FairseqLanguageModel)
        source = None if is_language_model else task.source_dictionary
        cfg = with_found_units(with_all_options(cfg, cls), task)
        model = cls.build(cfg, source, task.target_dictionary)
        logger.info("tying: %s\n%s\n%s", cfg.tying, model.tie_map, model.tie_map.signature)
        return model

    @classmethod
    def build(cls: type[Self], cfg: Any, source: Dictionary | None, target: Dictionary) -> Self:
        """Build the model for these dictionaries, on torch's default device.

        Args:
            cfg: the architecture's options.
            source: the source dictionary; None for a language model.
            target: the target dictionary.

        Raises:
            UserError: dictionaries that ``cfg.tying`` cannot tie, or an option out of range.
        """
        cfg = with_all_options(cfg, cls)
        model = cls.assemble(cfg, source, target)
        model._complete(cfg, source, target)
        return model

    @classmethod
    def assemble(cls: type[Self], cfg: Any, source: Dictionary | None, target: Dictionary) -> Self:
        """The model of parts that are initialised; each architecture says how.

        Args:
            cfg: all options of the architecture.
            source: the source dictionary; None for a language model.
            target: the target dictionary.

        Raises:
            UserError: see :meth:`build`.
        """
        raise NotImplementedError

    def _complete(self, cfg: Any, source: Dictionary | None, target: Dictionary) -> None:
        """Do what the options of every model say, and guard the checkpoints."""
        if cfg.private_units and not any(scale.private for _, scale in self.lookups.values()):
            raise UserError(f"--private-units: {type(self).__name__} has no private rows")
        set_matmul_precision(self, str(cfg.float32_matmul_precision))
        if cfg.no_output_bias:
            nn.init.zeros_(self.output_layer.bias.requires_grad_(False))
        paths = cfg.encoder_embed_path or "", cfg.decoder_embed_path or ""
        fault = start_from_vectors(self.embeddings, paths, source, target)
        self.training_faults = {VECTORS_FAULT: fault} if fault else {}
        self._hold(cfg, source, target)
        guard_checkpoints(self, *((target,) if source is None else (source, target)))

    def _hold(self, cfg: Any, source: Dictionary | None, target: Dictionary) -> None:
        """Let training leave as it is what the options say."""
        rows = cfg.train_rows
        if rows and cfg.freeze_embeddings:
            raise UserError("--train-rows trains rows that --freeze-embeddings freezes; give one")
        if cfg.freeze_embeddings:
            tied = matrices(self.embeddings).values()
            private = (scale.private for _, scale in self.lookups.values())
            for weight in (*tied, *(p.weight for p in private if p is not None)):
                weight.requires_grad_(False)
            names = [name for name, p in self.named_parameters() if not p.requires_grad]
            self.held_rows = HeldRows(names, {})
        elif rows and not is_row_range(rows) and not Path(rows).is_file():
            fault = f"--train-rows {rows}: no such file, and not FROM:TO"
            self.training_faults = {**self.training_faults, "rows": fault}
        elif rows:
            self.held_rows = train_rows_alone(self, rows, source, target)

    @contextmanager
    def updating(self) -> Iterator[None]:
        """What the optimizer does to the model, within which some rows are held.

        Raises:
            UserError: the model was built without what its training asks for.
        """
        for fault in self.training_faults.values():
            raise UserError(fault)
        if self.held_rows is None:
            yield
            return
        with self.held_rows.kept(dict(self.named_parameters())):
            yield

    # --- what tools need of a model ------------------------------------------------------------

    @property
    def embeddings(self) -> Embeddings:
        """The embedding matrices, as tied."""
        raise NotImplementedError

    @property
    def lookups(self) -> dict[str, tuple[nn.Embedding, LookupScale]]:
        """The input embeddings by use, each with the scale of its lookups."""
        embeddings = self.embeddings
        of_target = (embeddings.target, self.decoder.input_scale)
        if embeddings.source is None:
            return {INPUT: of_target}
        of_source = (embeddings.source, self.encoder.input_scale)
        return {SOURCE_INPUT: of_source, TARGET_INPUT: of_target}

    @property
    def learned_scales(self) -> dict[str, Tensor]:
        """The learned scales of ``lookups``, by use."""
        scales = {use: scale.factor for use, (_, scale) in self.lookups.items()}
        return {use: factor for use, factor in scales.items() if factor is not None}

    @property
    def tie_map(self) -> TieMap:
        """Which matrices are tied, and how many parameters there are."""
        return tie_map_of(self.embeddings, self)

    @property
    def output_layer(self) -> OutputLayer:
        """What turns the features of ``forward(features_only=True)`` into a loss or scores."""
        return self.embeddings.output

    @property
    def stepper(self) -> Stepper | None:
        """The decoder as beam search needs it; None if only fairseq's search can be used."""
        return None

    def set_num_updates(self, num_updates: int) -> None:
        """fairseq calls this with the number of updates so far."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    # --- decoding ------------------------------------------------------------------------------

    def freeze_for_decoding(self, kind: type[FrozenLinear] | None) -> None:
        """Multiply with frozen copies of the weights where no gradient is recorded.

        This applies to all linear layers, V, and modules with their own ``freeze``. A copy is
        renewed when its weight changes.

        Args:
            kind: what the copies are, such as packed or int8; None uses the weights again.
        """
        tune_process()  # before the first product, which packs a weight
        for module in self.modules():
            if type(module) is nn.Linear:
                freeze(module, kind)
            elif hasattr(module, "freeze"):
                module.freeze(kind)

    def prepare_for_inference_(self, cfg: DictConfig) -> None:
        """fairseq calls this when the model will not be trained any more."""
        wanted = owners_in(getattr(cfg.generation, "retain_dropout_modules", None) or ())
        owners = {m.owner for m in self.modules() if isinstance(m, Dropping) and m.owner}
        if unknown := sorted(wanted - owners):
            raise UserError(
                f"--retain-dropout-modules {' '.join(unknown)}: no such modules; "
                f"{type(self).__name__} has {', '.join(sorted(owners))}"
            )
        super().prepare_for_inference_(cfg)
        self.freeze_for_decoding(PackedLinear)

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        task: str | None = None,
        task_overrides: dict[str, Any] | None = None,
        **overrides: Any,
    ) -> hub_utils.GeneratorHubInterface:
        """fairseq's interface to a trained model, with the fast search of this package.

        Args:
            model_name_or_path: folder of the checkpoint.
            checkpoint_file: its name in there; several, joined by ``:``, are an ensemble.
            data_name_or_path: folder of the dictionaries; relative to the first if it begins with
                a dot.
            task: fairseq's name of the task; by default ``tied_translation`` in the place of
                ``translation``, for its search, and else the task of the training.
            task_overrides: options of the task, such as ``{"int8": True}``.
            overrides: any other options, as fairseq takes them, and ``int8``.

        Raises:
            UserError: there is no such task, or it has no such option.
        """
        changes = dict(task_overrides or {})
        changes |= {name: overrides.pop(name) for name in ("int8",) if name in overrides}
        loaded = hub_utils.from_pretrained(
            model_name_or_path,
            checkpoint_file,
            data_name_or_path,
            archive_map=cls.hub_models(),
            **overrides,
        )
        of_training = loaded["args"].task
        trained = str(getattr(of_training, "_name", None) or getattr(of_training, "task", ""))
        wanted = task or ("tied_translation" if trained == "translation" else trained)
        if wanted != trained or changes:
            loaded["task"] = _another_task(loaded["args"], wanted, changes)
        return hub_utils.GeneratorHubInterface(loaded["args"], loaded["task"], loaded["models"])

    # --- loading -------------------------------------------------------------------------------

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """fairseq's; a state of the model of fairseq's own becomes one of ours, too.

        So ``--restore-file`` and ``--finetune-from-model`` take either. What such a state does not
        say is left as the options have it: how lookups are scaled.
        """
        super().upgrade_state_dict_named(state_dict, name)
        stock = type(self).stock
        if stock is not None and not name and stock.is_held_by(state_dict):
            scale = self.encoder.input_scale.value
            ours = stock.to_ours(state_dict, scale)
            state_dict.clear()
            state_dict.update(ours)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """fairseq's, with a message that says what to do where the model is another.

        Raises:
            CheckpointError: the state is that of another model, or of other dictionaries.
        """
        faults = self.training_faults.items()  # the state holds what the vectors would start
        self.training_faults = {name: fault for name, fault in faults if name != VECTORS_FAULT}
        try:
            return super().load_state_dict(*args, **kwargs)
        except UserError:
            raise
        except RuntimeError as error:
            difference = shorten(" ".join(str(error).splitlines()[1:]), 160)
            raise CheckpointError(
                "the checkpoint holds another model; give the --arch, --tying, --projection, "
                "--output-map and sizes that it was trained with (tiednmt vocabulary untie and tie "
                f"change the --tying): {difference}"
            ) from error


def _another_task(cfg: DictConfig, name: str, changes: dict[str, Any]) -> FairseqTask:
    """The task of this name instead of ``cfg.task``, whose options it shares."""
    if name not in TASK_DATACLASS_REGISTRY:
        raise UserError(f"fairseq knows no task {name}")
    if unknown := sorted(set(changes) - set(TASK_DATACLASS_REGISTRY[name].__dataclass_fields__)):
        raise UserError(f"the task {name} has no option {unknown[0]}")
    with open_dict(cfg):
        cfg.task = {**cfg.task, **changes, "_name": name}
    return setup_task(cfg.task, from_checkpoint=True)
