"""Tasks; importing this package registers them with fairseq."""

from tiednmt.tasks.tied_language_modeling import TiedLanguageModelingTask
from tiednmt.tasks.tied_translation import TiedTranslationTask

__all__ = ["TiedLanguageModelingTask", "TiedTranslationTask"]
