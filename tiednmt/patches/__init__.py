"""What is changed in fairseq, and why: a module per subject, a function per change.

Each function may be called any number of times.
"""

from tiednmt.patches.architectures import give_values_to_configurations, translate_habits
from tiednmt.patches.checkpoints import (
    allow_types_of_checkpoints,
    check_checkpoints,
    keep_as_many_as_wanted,
    leave_no_empty_folder,
    load_components_of_tied_models,
    make_copies_atomic,
    save_whole,
    start_from_no_missing_checkpoint,
)
from tiednmt.patches.data import (
    check_binarised_text,
    check_dictionaries,
    find_buckets,
    keep_the_last_batch,
    provide_old_number,
    read_all_parts,
    read_what_is_not_cached,
    share_sets_among_shards,
)
from tiednmt.patches.eval_lm import join_units_of_words
from tiednmt.patches.foreign_code import (
    build_known_architectures,
    keep_the_check_of_pickles,
    read_literals_only,
    refuse_fasta,
)
from tiednmt.patches.interactive import cut_long_lines, keep_lines_whole
from tiednmt.patches.optimizers import (
    count_the_validation_of_a_checkpoint,
    hold_rows_in_training,
    keep_patience_of_plateaus,
    leave_scales_in_averages,
    refuse_moments_of_other_parameters,
    show_averages_beside_training,
    start_averages_from_checkpoints,
    update_in_few_launches,
)
from tiednmt.patches.processes import (
    count_all_batches,
    end_process_groups,
    end_updates_together,
    share_gradients_on_cpus,
    stop_loading_at_exit,
)
from tiednmt.patches.refusals import (
    refuse_options_of_commands,
    refuse_other_language_models,
    refuse_texts_for_numbers,
    refuse_torchrun_on_cpus,
    refuse_untrainable_options,
)
from tiednmt.patches.training_end import forget_earlier_runs, stop_finished_runs

PATCHES = (
    keep_the_check_of_pickles,  # a variable of the environment would let checkpoints run code
    build_known_architectures,  # builders of some architectures run what a checkpoint says
    read_literals_only,  # strings of a configuration are given to eval
    refuse_fasta,  # names of files are given to a shell
    allow_types_of_checkpoints,  # torch refuses the configuration, which is harmless
    check_checkpoints,  # damaged ones and NaN are loaded
    start_from_no_missing_checkpoint,  # training starts from scratch instead
    make_copies_atomic,  # a run killed at checkpoint_last.pt would leave half of it
    save_whole,  # a full disk leaves half a checkpoint
    keep_as_many_as_wanted,  # of the best N, those that are worse than the first are left out
    leave_no_empty_folder,  # an option that is refused leaves the folder for checkpoints
    load_components_of_tied_models,  # a checkpoint holds a matrix once, not under both names
    check_dictionaries,  # the file with the error is not named
    check_binarised_text,  # sizes in a damaged index are taken as they are
    read_what_is_not_cached,  # cached text is asked for before it is cached
    read_all_parts,  # several parts of a text end in a traceback by default
    keep_the_last_batch,  # by default, the last few sentences of a text are left out
    share_sets_among_shards,  # every shard of a set translates all of it
    find_buckets,  # the interpolation of numpy.percentile is gone
    provide_old_number,  # numpy.compat.long is gone
    hold_rows_in_training,  # optimizers and averages move rows that are not trained
    leave_scales_in_averages,  # averages in single precision round what does not change
    start_averages_from_checkpoints,  # those of a checkpoint without them are its weights
    refuse_moments_of_other_parameters,  # those of another choice of rows fail in the first update
    count_the_validation_of_a_checkpoint,  # saved before the scheduler hears of it
    keep_patience_of_plateaus,  # counted from zero when a run resumes
    show_averages_beside_training,  # validation sees the weights that are trained alone
    update_in_few_launches,  # Adam goes over parameters one by one
    forget_earlier_runs,  # the jobs of a hydra sweep share the best loss and the patience
    stop_finished_runs,  # a finished run that is started again trains one update more
    stop_loading_at_exit,  # a thread is left at work, and Python aborts
    end_process_groups,  # threads of gloo are left at work
    count_all_batches,  # at the end of an epoch, some count for the gradient but not for its size
    end_updates_together,  # none can collect what its workers carry, or write what it measured
    share_gradients_on_cpus,  # pytorch_ddp, the default, passes on a GPU id even with --cpu
    give_values_to_configurations,  # of hydra, which get the model's defaults before
    translate_habits,  # an architecture's values hide what was asked for in fairseq's own words
    keep_lines_whole,  # a carriage return divides a line of a file
    join_units_of_words,  # --remove-bpe of fairseq-eval-lm finds no units to join
    cut_long_lines,  # a line that is too long takes others with it
    refuse_texts_for_numbers,  # a text for --lr ends in a traceback
    refuse_untrainable_options,  # they end in a traceback, or train what nobody meant
    refuse_options_of_commands,  # they end in a traceback, or are not read
    refuse_other_language_models,  # those of other units score wrongly, or end in a traceback
    refuse_torchrun_on_cpus,  # each worker asks for a GPU
)


def put_in_place() -> None:
    """Change fairseq in all these ways."""
    for change in PATCHES:
        change()
