"""Changes around an update of the weights: held rows, averages, moments, speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from fairseq import utils
from fairseq.models.ema.ema import EMA
from fairseq.optim import FairseqOptimizer
from fairseq.optim.adam import Adam
from fairseq.optim.fp16_optimizer import FP16Optimizer
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.modules.lookup import CONSTANT
from tiednmt.optim import few_launches
from tiednmt.optim.averaged_sgd import AveragedSGD
from tiednmt.optim.nt_asgd import TiedNonMonotonic
from tiednmt.patches.patch import patch

BAD_EPOCHS = "num_bad_epochs"  # our entry in the state of reduce_lr_on_plateau


def hold_rows_in_training() -> None:
    """Put held rows back after each update, and in each average of the weights.

    This wraps the task's call of the optimizer: a hook of torch's optimizers would run before
    fairseq's half precision copies its weights into the model. An average of equal numbers is
    rounded, so held rows would drift in it.
    """

    def hold_in_step(
        step: Callable[..., None], self: FairseqTask, optimizer: Any, model: Any, update_num: int
    ) -> None:
        updating = getattr(model, "updating", None)
        with nullcontext() if updating is None else updating(_means(optimizer)):
            step(self, optimizer, model, update_num)

    def hold_in_average(
        average: Callable[..., None], self: EMA, new_model: Any, updates: int | None = None
    ) -> None:
        held = getattr(new_model, "held_rows", None)
        if held is None:
            return average(self, new_model, updates)
        in_model = dict(self.model.named_parameters())
        with held.kept(in_model, whole=True), held.kept(self.fp32_params, whole=True):
            average(self, new_model, updates)

    patch(FairseqTask, "optimizer_step", hold_in_step)
    patch(EMA, "_step_internal", hold_in_average)


def _means(optimizer: Any) -> dict[Tensor, Tensor]:
    """The means of ``--optimizer tied_averaged_sgd``, by parameter."""
    state = optimizer.optimizer.state if isinstance(optimizer.optimizer, AveragedSGD) else {}
    return {parameter: of["other"] for parameter, of in state.items() if "other" in of}


def leave_scales_in_averages() -> None:
    """Let ``--ema-fp32`` copy the scale of lookups instead of averaging it, unless it is learned.

    The average covers the whole state dict, and with it this constant, which would be rounded in
    each update and drift.
    """

    def leave_scales(
        initialise: Callable[..., None], self: EMA, model: Any, *args: Any, **more: Any
    ) -> None:
        initialise(self, model, *args, **more)
        scales = (name for name in model.state_dict() if name.endswith(f"input_scale.{CONSTANT}"))
        self.skip_keys = {*self.skip_keys, *scales}

    patch(EMA, "__init__", leave_scales)


def start_averages_from_checkpoints() -> None:
    """Let ``--store-ema`` begin with the weights of a checkpoint that has no averages.

    fairseq means to do so, but has deleted those weights by then.
    """

    def load_averages(load: Callable[..., Any], self: Trainer, *args: Any, **more: Any) -> Any:
        options = self.cfg.ema
        wanted, options.store_ema = options.store_ema, False
        try:
            loaded = load(self, *args, **more)
        finally:
            options.store_ema = wanted
        if wanted and loaded is not None:
            averages = loaded.get("ema", self.get_model().state_dict())
            self.ema.restore(averages)
            if options.ema_fp32:
                self.ema.build_fp32_params(loaded.get("ema_fp32_params"))
        return loaded

    patch(Trainer, "load_checkpoint", load_averages)


def refuse_moments_of_other_parameters() -> None:
    """Say in one line that the optimizer in ``--restore-file`` trained other parameters.

    This happens if only one of the two runs has ``--train-rows`` or ``--freeze-embeddings``. The
    error of torch names sizes of parameter groups, and fairseq's half precision, whose optimizer
    sees one flat tensor, fails in the middle of the first update. Training other rows of the same
    matrices is fine: the moments of held rows are zero.
    """

    def load_fitting(
        load: Callable[..., None],
        self: FairseqOptimizer,
        state: Mapping[str, Any],
        overrides: Any = None,
    ) -> None:
        groups = state.get("param_groups", ())
        numbers = [number for group in groups for number in group["params"]]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        fits = len(numbers) == len(parameters) and all(
            value.shape == parameter.shape
            for number, parameter in zip(numbers, parameters, strict=True)
            for value in state["state"].get(number, {}).values()
            if isinstance(value, Tensor) and value.dim() and value.dim() == parameter.dim()
        )
        if groups and not fits:
            raise UserError(
                "--restore-file: its optimizer trained other parameters than this run does "
                "(--train-rows or --freeze-embeddings may differ, or the model); start from that "
                "checkpoint with --finetune-from-model and another --save-dir, or add "
                "--reset-optimizer"
            )
        load(self, state, overrides)

    patch(FairseqOptimizer, "load_state_dict", load_fitting)


def count_the_validation_of_a_checkpoint() -> None:
    """Tell a scheduler that looks at the validation of the one before a checkpoint.

    At the end of an epoch fairseq saves first, so that the scheduler of a resumed run would never
    hear of that epoch.
    """

    def load_and_count(
        load: Callable[..., Any],
        self: Trainer,
        filename: str,
        reset_optimizer: bool = False,
        reset_lr_scheduler: bool = False,
        *args: Any,
        **more: Any,
    ) -> Any:
        loaded = load(self, filename, reset_optimizer, reset_lr_scheduler, *args, **more)
        if loaded is None or reset_optimizer or reset_lr_scheduler:
            return loaded
        scheduler, position = self.lr_scheduler, loaded["train_iterator"]
        validates = isinstance(scheduler, TiedNonMonotonic | ReduceLROnPlateauLRSchedule)
        if validates and not position["iterations_in_epoch"]:
            scheduler.step(position["epoch"] - 1, loaded.get("val_loss"))
        return loaded

    patch(Trainer, "load_checkpoint", load_and_count)


def keep_patience_of_plateaus() -> None:
    """Let ``--lr-scheduler reduce_lr_on_plateau`` resume with the epochs that were no better.

    fairseq keeps the best value, but counts towards ``--lr-patience`` from zero.
    """

    def state_dict(
        state_of: Callable[..., dict[str, Any]], self: ReduceLROnPlateauLRSchedule
    ) -> dict[str, Any]:
        return {**state_of(self), BAD_EPOCHS: self.lr_scheduler.num_bad_epochs}

    def load_state_dict(
        load: Callable[..., None], self: ReduceLROnPlateauLRSchedule, state: Mapping[str, Any]
    ) -> None:
        load(self, state)
        self.lr_scheduler.num_bad_epochs = state.get(BAD_EPOCHS, 0)

    patch(ReduceLROnPlateauLRSchedule, "state_dict", state_dict)
    patch(ReduceLROnPlateauLRSchedule, "load_state_dict", load_state_dict)


def show_averages_beside_training() -> None:
    """Validate and save the average of ``--optimizer tied_averaged_sgd``; train its last iterate.

    fairseq has no place where an optimizer could switch the weights between the two.
    """

    def with_last_iterate(
        method: Callable[..., Any], self: Trainer, *args: Any, **more: Any
    ) -> Any:
        _show_average(self, False)
        return method(self, *args, **more)

    def with_average(method: Callable[..., Any], self: Trainer, *args: Any, **more: Any) -> Any:
        _show_average(self, True)
        return method(self, *args, **more)

    patch(Trainer, "train_step", with_last_iterate)
    patch(Trainer, "begin_valid_epoch", with_average)
    patch(Trainer, "save_checkpoint", with_average)


def _show_average(trainer: Trainer, shown: bool) -> None:
    optimizer = trainer.optimizer.optimizer
    if isinstance(optimizer, AveragedSGD):
        optimizer.show_average(shown)


def update_in_few_launches() -> None:
    """Let Adam, the gradient norm and copies between dtypes run over lists of tensors.

    Without apex, fairseq launches kernels for one parameter after another. The formulas are
    fairseq's, so the results are the same.
    """

    def step(
        one_by_one: Callable[..., Any], self: Adam, closure: Callable[[], Any] | None = None
    ) -> Any:
        fast = few_launches.goes_over_lists(self)
        return (few_launches.step if fast else one_by_one)(self, closure)

    def copy_gradients(one_by_one: Callable[..., None], self: FP16Optimizer) -> None:
        fast = few_launches.copies_go_over_lists(self)
        (few_launches.copy_gradients if fast else one_by_one)(self)

    def copy_parameters(one_by_one: Callable[..., None], self: FP16Optimizer) -> None:
        fast = few_launches.copies_go_over_lists(self)
        (few_launches.copy_parameters if fast else one_by_one)(self)

    patch(Adam, "step", step)
    patch(FP16Optimizer, "_sync_fp16_grads_to_fp32", copy_gradients)
    patch(FP16Optimizer, "_sync_fp32_params_to_fp16", copy_parameters)
    if not utils.multi_tensor_l2norm_available:
        utils.multi_tensor_l2norm_available = True
        utils.multi_tensor_total_norm = few_launches.total_norm
