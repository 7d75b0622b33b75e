"""The base of every architecture here: tied matrices, one output layer, a stepper."""

import logging
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from tiednmt.models.embedding_options import with_private_units_path
from tiednmt.models.held_rows import HeldRows, fault_of_file, train_rows_alone
from tiednmt.models.model_options import options_of, with_all_options
from tiednmt.models.parameters import OURS, ParameterNames
from tiednmt.models.stock import StockModel
from tiednmt.models.word_vectors import start_from_vectors
from tiednmt.modules import OutputLayer
from tiednmt.modules.dropout import Dropping, owners_in
from tiednmt.modules.frozen_linear import FrozenLinear, PackedLinear
from tiednmt.modules.linear import freeze, set_matmul_precision
from tiednmt.modules.lookup import LookupScale
from tiednmt.options import require_ranges
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

Self = TypeVar("Self", bound="TiedModel")


class TiedModel(BaseFairseqModel):
    """A model with tied matrices; checkpoints store each once and fit only its vocabularies."""

    parameter_names: ClassVar[ParameterNames] = OURS
    stock: ClassVar[StockModel | None] = None  # fairseq's model that computes the same
    fits_cuda_graphs: ClassVar[bool] = False  # within tiednmt.modules.packing.padding_stays
    num_updates = 0  # made before the current batch
    frozen_as: type[FrozenLinear] | None = None  # the copies it decodes with; None: the weights
    held_rows: HeldRows | None = None  # kept unchanged by training
    has_output_bias = True
    # error messages for training: a file that an option names is missing, or a bias is ruled out
    missing_vectors: str | None = None
    faulty_rows: str | None = None
    loaded_bias: str | None = None

    # --- building ------------------------------------------------------------------------------

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the options of the model, and their names in fairseq's own models."""
        super().add_args(parser)
        habits.add_options(parser, cls)

    @classmethod
    def build_model(cls: type[Self], cfg: Any, task: FairseqTask) -> Self:
        """Build from the task's dictionaries and log the tie map; fairseq calls this."""
        is_language_model = issubclass(cls, FairseqLanguageModel)
        source = None if is_language_model else task.source_dictionary
        cfg = with_private_units_path(with_all_options(cfg, cls), task)
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
        if (declared := options_of(cls)) is not None:
            require_ranges(cfg, declared)
        model = cls.assemble(cfg, source, target)
        model._complete(cfg, source, target)
        return model

    @classmethod
    def assemble(cls: type[Self], cfg: Any, source: Dictionary | None, target: Dictionary) -> Self:
        """Put the model together from initialised parts; each architecture says how.

        Args:
            cfg: all options of the architecture.
            source: the source dictionary; None for a language model.
            target: the target dictionary.

        Raises:
            UserError: see :meth:`build`.
        """
        raise NotImplementedError

    def _complete(self, cfg: Any, source: Dictionary | None, target: Dictionary) -> None:
        """Apply the options that every model has, and guard its checkpoints."""
        if cfg.private_units and not any(scale.private for _, scale in self.lookups.values()):
            raise UserError(f"--private-units: {type(self).__name__} has no private rows")
        set_matmul_precision(self, str(cfg.float32_matmul_precision))
        self.has_output_bias = not cfg.no_output_bias
        if not self.has_output_bias:
            nn.init.zeros_(self.output_layer.bias.requires_grad_(False))
        private = [scale.private for _, scale in self.lookups.values() if scale.private is not None]
        paths = cfg.encoder_embed_path or "", cfg.decoder_embed_path or ""
        of_source = private[0] if private else None
        self.missing_vectors = start_from_vectors(self.embeddings, paths, source, target, of_source)
        self._hold(cfg, source, target)
        if any(rows.listed is None for rows in private):  # enough for what a checkpoint brings
            self.faulty_rows = private[0].missing
        guard_checkpoints(self, *((target,) if source is None else (source, target)))

    def _hold(self, cfg: Any, source: Dictionary | None, target: Dictionary) -> None:
        """Freeze the matrices or rows that ``--freeze-embeddings`` or ``--train-rows`` asks for."""
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
        elif rows and (fault := fault_of_file(rows, source, target)):
            self.faulty_rows = fault
        elif rows:
            self.held_rows = train_rows_alone(self, rows, source, target)

    @contextmanager
    def updating(self, means: Mapping[Tensor, Tensor] | None = None) -> Iterator[None]:
        """Within the block, the optimizer may update the model; at its end, held rows are put back.

        Args:
            means: the optimizer's averages of its iterates, by parameter; rows are held in them
                too.

        Raises:
            UserError: a file that an option of training names was missing or faulty when the model
                was built, or the checkpoint has an output bias that an option rules out.
        """
        if fault := self.missing_vectors or self.faulty_rows or self.loaded_bias:
            raise UserError(fault)
        if self.held_rows is None:
            yield
            return
        named, known = dict(self.named_parameters()), means or {}
        of_means = {name: known[p] for name, p in named.items() if p in known}
        with self.held_rows.kept(named), self.held_rows.kept(of_means):
            yield

    def held_in(self, parameter: Tensor) -> Tensor | None:
        """The held rows of a parameter; None if all of it is trained, or none of it."""
        rows = {} if self.held_rows is None else self.held_rows.rows
        names = (name for name, own in self.named_parameters() if own is parameter)
        return rows.get(next(names, ""))

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
        """Turns the features of ``forward(features_only=True)`` into scores or a loss."""
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
            kind: the kind of copy, such as packed or int8; None uses the weights again.
        """
        self.frozen_as = kind
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
            checkpoint_file: its name there; several, joined by ``:``, form an ensemble.
            data_name_or_path: folder of the dictionaries; relative to the folder of the checkpoint
                if it begins with a dot.
            task: fairseq's name of the task; by default ``tied_translation`` instead of
                ``translation``, for its search, and otherwise the task of the training.
            task_overrides: options of the task, such as ``{"int8": True}``.
            overrides: any other options, as fairseq takes them, and ``int8``.

        Raises:
            UserError: there is no such task, or it has no such option.
        """
        changes = dict(task_overrides or {})
        if "int8" in overrides:
            changes["int8"] = overrides.pop("int8")
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
        """Upgrade an old state, as fairseq does, and convert one of fairseq's own model to ours.

        So ``--restore-file`` and ``--finetune-from-model`` take either. Whether fairseq's model
        scaled its lookups is not in such a state; if it can, the options decide.
        """
        super().upgrade_state_dict_named(state_dict, name)
        stock = type(self).stock
        if stock is not None and not name and stock.is_held_by(state_dict):
            scale = self.encoder.input_scale.value if stock.scales_lookups else 1.0
            ours = stock.to_ours(state_dict, scale)
            state_dict.clear()
            state_dict.update(ours)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load a state, as fairseq does, with an error that says what to do if it does not fit.

        Raises:
            CheckpointError: the state is that of another model, or of other dictionaries.
        """
        self.missing_vectors = None  # the state holds the rows that they would initialise
        self.loaded_bias = None
        try:
            loaded = super().load_state_dict(*args, **kwargs)
        except RuntimeError as error:
            first, *differences = str(error).splitlines() or [""]
            if not first.startswith("Error(s) in loading state_dict"):
                raise
            difference = shorten(" ".join(differences), 160)
            raise CheckpointError(
                "the checkpoint holds another model; give the --arch, --tying, --projection, "
                "--output-map and sizes that it was trained with (tiednmt vocabulary untie and tie "
                f"change the --tying): {difference}"
            ) from error
        if not self.has_output_bias and self.output_layer.bias.any():
            self.loaded_bias = (
                "--no-output-bias: the checkpoint has an output bias; leave the option out"
            )
        return loaded


def _another_task(cfg: DictConfig, name: str, changes: dict[str, Any]) -> FairseqTask:
    """The task of this name with the options of ``cfg.task``, which it replaces."""
    if name not in TASK_DATACLASS_REGISTRY:
        raise UserError(f"fairseq knows no task {name}")
    if unknown := sorted(set(changes) - set(TASK_DATACLASS_REGISTRY[name].__dataclass_fields__)):
        raise UserError(f"the task {name} has no option {unknown[0]}")
    with open_dict(cfg):
        cfg.task = {**cfg.task, **changes, "_name": name}
    return setup_task(cfg.task, from_checkpoint=True)
