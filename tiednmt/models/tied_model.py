"""The base of every architecture here: tied matrices, one output layer, a stepper."""

import copy
import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, TypeVar

import torch
from fairseq import hub_utils
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import BaseFairseqModel, FairseqIncrementalDecoder, FairseqLanguageModel
from fairseq.tasks import TASK_DATACLASS_REGISTRY, FairseqTask, setup_task
from fairseq.utils import split_paths
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from tiednmt.errors import CheckpointError, UserError
from tiednmt.models import habits
from tiednmt.models.held_rows import HeldRows, is_row_range, train_rows_alone
from tiednmt.models.parameters import OURS, ParameterNames
from tiednmt.models.stock import StockModel
from tiednmt.models.word_vectors import VECTORS, start_from_vectors
from tiednmt.modes import NONE, TYINGS
from tiednmt.modules import OutputLayer
from tiednmt.modules.dropout import Dropping, owners_in
from tiednmt.modules.frozen_linear import FrozenLinear, PackedLinear
from tiednmt.modules.linear import PRECISIONS, freeze, set_matmul_precision
from tiednmt.modules.lookup import LookupScale, PrivateRows
from tiednmt.modules.output_maps import NO_MAP, OUTPUT_MAPS, OutputMapOptions
from tiednmt.options import option_name
from tiednmt.search.stepper import StepOutput, Stepper, Tree, keep
from tiednmt.tuned_process import tune_process
from tiednmt.tying import (
    INPUT,
    JOINT,
    SOURCE_INPUT,
    TARGET_INPUT,
    Dims,
    Embeddings,
    TieMap,
    build_embeddings,
    guard_checkpoints,
    matrices,
)
from tiednmt.tying import tie_map as tie_map_of

logger = logging.getLogger(__name__)

LEARNED_FROM = 4.0  # what --input-scale learned starts from
VECTORS_FAULT = "vectors"

EncoderOut = dict[str, list[Tensor]]
IncrementalState = dict[str, dict[str, Any]]
Self = TypeVar("Self", bound="TiedModel")


def input_scale_field(default: str) -> Any:
    """The option ``--input-scale`` with the default of a family of models."""
    return field(
        default=default,
        metadata={
            "help": "multiply what an input embedding looks up: a number, "
            "sqrt-dim, or learned (one scalar per input embedding)"
        },
    )


@dataclass
class TiedModelConfig(FairseqDataclass):
    """The options of every model of this package."""

    tying: ChoiceEnum(TYINGS) = field(  # type: ignore[valid-type]
        default=NONE,
        metadata={
            "help": "which embeddings share one matrix: none; inputs: source input = target input; "
            "decoder: target input = output; three-way: source input = target input = output "
            "(inputs and three-way need a joint dictionary)"
        },
    )
    projection: bool = field(
        default=False,
        metadata={
            "help": "put a matrix P (embedding x embedding) before the output embedding; "
            "see --projection-penalty of the criterion tied_cross_entropy"
        },
    )
    projection_bias: bool = field(
        default=False,
        metadata={"help": "give P a bias, as the paper's released code does"},
    )
    no_output_bias: bool = field(
        default=False,
        metadata={"help": "leave the output bias at zero; fairseq's Transformer has none"},
    )
    input_scale: str = input_scale_field("1")
    input_gradient_scale: float = field(
        default=1.0,
        metadata={"help": "multiply the input embeddings' part of a matrix's gradient"},
    )
    output_map: ChoiceEnum(OUTPUT_MAPS) = field(  # type: ignore[valid-type]
        default=NO_MAP,
        metadata={
            "help": "map between the output embedding's matrix E and the scores: none; joint: map "
            "E and the features into a joint space; residual: deep residual layers on E (DRILL); "
            "low-rank: add a low-rank matrix to E"
        },
    )
    output_map_size: int = field(
        default=0, metadata={"help": "size of the joint space, or rank of the low-rank matrix"}
    )
    output_map_depth: int = field(default=0, metadata={"help": "layers of the residual map"})
    output_map_dropout: float = field(
        default=0.0,
        metadata={"help": "dropout before each residual layer, with one mask for all rows"},
    )
    embedding_rank: int = field(
        default=0,
        metadata={
            "help": "factorise the embeddings: rows have this size; lookups are projected up to "
            "--embed-dim, and features down before scoring (0: off)"
        },
    )
    private_units: str = field(
        default="",
        metadata={
            "help": "file of units, one per line, whose rows are not shared: the source side has "
            "its own (needs --tying inputs or three-way). A name that does not exist as given is "
            "looked up in the data-bin, which has shared-units.txt, the units that both "
            "languages use"
        },
    )
    train_rows: str = field(
        default="",
        metadata={
            "help": "train only these rows of the embedding matrices and of the output bias: "
            "FROM:TO (without row TO), or a file of units, one per line; everything else stays "
            "unchanged, bit for bit"
        },
    )
    freeze_embeddings: bool = field(
        default=False, metadata={"help": "do not train the embedding matrices"}
    )
    encoder_embed_path: str = field(
        default="",
        metadata={
            "help": "word vectors that initialise the source input embedding (text: the two sizes "
            "on the first line, then a unit and its row per line); a tied matrix takes one file"
        },
    )
    decoder_embed_path: str = field(
        default="",
        metadata={"help": "the same for the target input embedding"},
    )
    float32_matmul_precision: ChoiceEnum(PRECISIONS) = field(  # type: ignore[valid-type]
        default="highest",
        metadata={
            "help": "matmul precision in training: medium rounds the factors to bfloat16 (CPU) or "
            "TF32 (GPU) if the hardware supports it, high to TF32; weights, states and gradients "
            "stay in float32"
        },
    )


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
        model = cls.build(_with_found_units(cfg, task), source, task.target_dictionary)
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
        raise NotImplementedError

    def complete(self, cfg: TiedModelConfig, *dictionaries: Dictionary) -> None:
        """Set the precision and guard the checkpoints; call it when all parts are initialised."""
        private = getattr(cfg, "private_units", "")
        if private and not any(scale.private for _, scale in self.lookups.values()):
            raise UserError(f"--private-units: {type(self).__name__} has no private rows")
        # fairseq does not complete the configuration of an older checkpoint
        set_matmul_precision(self, str(getattr(cfg, "float32_matmul_precision", "highest")))
        if getattr(cfg, "no_output_bias", False):
            nn.init.zeros_(self.output_layer.bias.requires_grad_(False))
        source = dictionaries[0] if len(dictionaries) > 1 else None
        paths = getattr(cfg, VECTORS[0], "") or "", getattr(cfg, VECTORS[1], "") or ""
        fault = start_from_vectors(self.embeddings, paths, source, dictionaries[-1])
        self.training_faults = {VECTORS_FAULT: fault} if fault else {}
        self._hold(cfg, source, dictionaries[-1])
        guard_checkpoints(self, *dictionaries)

    def _hold(self, cfg: TiedModelConfig, source: Dictionary | None, target: Dictionary) -> None:
        """Let training leave as it is what the options say."""
        rows, freezes = getattr(cfg, "train_rows", ""), getattr(cfg, "freeze_embeddings", False)
        if rows and freezes:
            raise UserError("--train-rows trains rows that --freeze-embeddings freezes; give one")
        if freezes:
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
                f"--output-map and sizes that it was trained with: {difference}"
            ) from error


class SteppingDecoder(FairseqIncrementalDecoder):
    """A decoder that is a :class:`Stepper`.

    Its steps serve fairseq's incremental decoding too and, unless :meth:`decode` does better,
    training.

    Args:
        dictionary: of the target language.
        embeddings: of the model.
        max_target_positions: longest target sentence, in subword units.
    """

    def __init__(
        self, dictionary: Dictionary, embeddings: Embeddings, max_target_positions: int = 1024
    ) -> None:
        super().__init__(dictionary)
        self.embedding = embeddings.target
        self.output = embeddings.output
        self.max_target_positions = max_target_positions

    def start(self, encoder_out: Any) -> tuple[Tree, Tree]:
        """See :class:`Stepper`."""
        raise NotImplementedError

    def step(self, tokens: Tensor, memory: Tree, state: Tree, position: int) -> StepOutput:
        """See :class:`Stepper`."""
        raise NotImplementedError

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any,
        incremental_state: IncrementalState | None = None,
        features_only: bool = False,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Scores (B × T × vocabulary), or features (B × T × dim) if ``features_only``.

        The second value holds ``attn``, B × T × S over the columns of the source as given, or None.
        With ``incremental_state`` only the last column of ``prev_output_tokens`` (B × T) is run.
        """
        features, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        return (features if features_only else self.output_layer(features)), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any,
        incremental_state: IncrementalState | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Features (B × T × dim) and the attention; see :meth:`forward`."""
        if incremental_state is None:
            features, attention = self.decode(prev_output_tokens, encoder_out)
        else:
            features, attention = self._run_step(prev_output_tokens, encoder_out, incremental_state)
        return features, {"attn": attention}

    def decode(self, prev_output_tokens: Tensor, encoder_out: Any) -> tuple[Tensor, Tensor | None]:
        """Features (B × T × dim) and attention (B × T × S) of whole targets (B × T)."""
        memory, state = self.start(encoder_out)
        steps = []
        for position, tokens in enumerate(prev_output_tokens.split(1, dim=1)):
            steps.append(self.step(tokens, memory, state, position))
            state = steps[-1].state
        features = torch.cat([step.features for step in steps], dim=1)
        attention = [step.attention for step in steps if step.attention is not None]
        return features, torch.cat(attention, dim=1) if attention else None

    def _run_step(
        self, prev_output_tokens: Tensor, encoder_out: Any, incremental_state: IncrementalState
    ) -> tuple[Tensor, Tensor | None]:
        """Features (B × 1 × dim) and attention (B × 1 × S) of the last column."""
        cached = self.get_incremental_state(incremental_state, "stepper")
        if cached is None:
            memory, state = self.start(encoder_out)
        else:
            memory, state = cached["memory"], cached["state"]
        position = prev_output_tokens.size(1) - 1
        step = self.step(prev_output_tokens[:, -1:], memory, state, position)
        cached = {"memory": memory, "state": step.state}
        self.set_incremental_state(incremental_state, "stepper", cached)
        return step.features, step.attention

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select and order sentences, for fairseq's beam search."""
        cached = self.get_incremental_state(incremental_state, "stepper")
        if cached is not None:
            self.set_incremental_state(incremental_state, "stepper", keep(cached, new_order))

    def output_layer(self, features: Tensor, **_: Any) -> Tensor:
        """Scores (… × vocabulary) of features (… × dim)."""
        return self.output(features)

    def max_positions(self) -> int:
        """Longest target sentence, in subword units."""
        return self.max_target_positions


def lookup_scale_of(
    cfg: Any,
    source: Dictionary | None = None,
    *,
    learned_from: float = LEARNED_FROM,
    dim: int | None = None,
    option: str = "input_scale",
) -> LookupScale:
    """The operations between the lookups of one side and the layers that read them.

    Args:
        cfg: options of the model.
        source: the source dictionary, for the side that looks up source units, which may have
            private rows.
        learned_from: what a learned scale starts from.
        dim: embedding size, if it differs from the option ``embed_dim``.
        option: the option with the scale.

    Raises:
        UserError: it says what it cannot.
    """
    # older checkpoints do not have the options
    asked = str(getattr(cfg, option, "1"))
    gradient_scale = getattr(cfg, "input_gradient_scale", 1.0)
    dim, name = dim or cfg.embed_dim, option_name(option)
    rank = getattr(cfg, "embedding_rank", 0)
    up = nn.Linear(rank, dim, bias=False) if rank else None
    private = None if source is None else _private_rows_of(cfg, source, rank or dim)
    return LookupScale.of(asked, dim, learned_from, gradient_scale, name, up, private)


def _private_rows_of(cfg: Any, source: Dictionary, size: int) -> PrivateRows | None:
    """The private rows of the source side, if it has any, of ``size`` numbers."""
    name = getattr(cfg, "private_units", "")
    if not name:
        return None
    path = Path(name)
    units = _units_in(path, source) if path.is_file() else None
    return PrivateRows(units, size, name)


def _units_in(path: Path, dictionary: Dictionary) -> list[int]:
    """The entries of the units that stand in a file, one per line."""
    entries = {symbol: entry for entry, symbol in enumerate(dictionary.symbols)}
    units = path.read_text(encoding="utf-8").split("\n")
    while units and not units[-1]:
        units.pop()
    if not units:
        raise UserError(f"--private-units {path}: holds no units")
    for number, unit in enumerate(units, start=1):
        if unit not in entries or unit == dictionary.pad_word:
            raise UserError(
                f"--private-units {path}, line {number}: {unit!r} is not a unit of the dictionary"
            )
    return [entries[unit] for unit in units]


def _with_found_units(cfg: Any, task: FairseqTask) -> Any:
    """The options, with the path of the file of units, which may be in the data-bin."""
    name = getattr(cfg, "private_units", "")
    if not name or Path(name).is_file():
        return cfg
    data = getattr(task.cfg, "data", "")
    if not data:
        return cfg
    found = Path(split_paths(data)[0]) / name
    if not found.is_file():
        return cfg
    cfg = copy.copy(cfg)
    cfg.private_units = str(found)
    return cfg


def embeddings_of(
    cfg: Any, source: Dictionary | None, target: Dictionary, dim: int | Dims
) -> Embeddings:
    """:func:`tiednmt.tying.build_embeddings` with the options of a model."""
    # older checkpoints do not have all the options
    bias = getattr(cfg, "projection_bias", False)
    rank = getattr(cfg, "embedding_rank", 0)
    output_map = OutputMapOptions(
        str(getattr(cfg, "output_map", NO_MAP)),
        getattr(cfg, "output_map_size", 0),
        getattr(cfg, "output_map_depth", 0),
        getattr(cfg, "output_map_dropout", 0.0),
    )
    if getattr(cfg, "private_units", "") and cfg.tying not in JOINT:
        raise UserError(
            f"--private-units: with --tying {cfg.tying} the languages share no matrix; "
            f"use --tying {' or '.join(JOINT)}"
        )
    return build_embeddings(cfg.tying, source, target, dim, cfg.projection, bias, rank, output_map)


def select_sentences(encoder_out: EncoderOut, order: Tensor) -> EncoderOut:
    """What an encoder yields for these sentences, in this order."""
    return {
        name: [tensor.index_select(0, order) for tensor in tensors]
        for name, tensors in encoder_out.items()
    }


def _another_task(cfg: DictConfig, name: str, changes: dict[str, Any]) -> FairseqTask:
    """The task of this name instead of ``cfg.task``, whose options it shares."""
    if name not in TASK_DATACLASS_REGISTRY:
        raise UserError(f"fairseq knows no task {name}")
    if unknown := sorted(set(changes) - set(TASK_DATACLASS_REGISTRY[name].__dataclass_fields__)):
        raise UserError(f"the task {name} has no option {unknown[0]}")
    with open_dict(cfg):
        cfg.task = {**cfg.task, **changes, "_name": name}
    return setup_task(cfg.task, from_checkpoint=True)


def check_ranges(cfg: Any, sizes: Iterable[str], dropouts: Iterable[str]) -> None:
    """Refuse sizes below 1 and dropouts outside [0, 1).

    Raises:
        UserError: with the name of the option.
    """
    for name in sizes:
        if getattr(cfg, name) < 1:
            raise UserError(f"{option_name(name)} {getattr(cfg, name)}: must be 1 or more")
    for name in dropouts:
        if not 0 <= getattr(cfg, name) < 1:
            raise UserError(f"{option_name(name)} {getattr(cfg, name)}: must be from 0 to below 1")


def preset(args: Namespace, **defaults: Any) -> None:
    """Give an architecture's values to the options that were not given."""
    for name, value in defaults.items():
        setattr(args, name, getattr(args, name, value))
