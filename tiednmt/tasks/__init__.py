"""Tasks; importing this package registers them with fairseq."""

from tiednmt.tasks.tied_language_modeling import TiedLanguageModelingTask

__all__ = ["TiedLanguageModelingTask"]
