"""The plugin: registers models, tasks and criterions with fairseq, and mends what fairseq lacks.

``fairseq-train --user-dir tiednmt`` imports this module through :mod:`tiednmt.tasks.user_dir`.
Programs that use the models through fairseq import it themselves. What is changed in fairseq, and
why, stands in :mod:`tiednmt.patches`.
"""

from __future__ import annotations

import tiednmt.criterions.tied_cross_entropy
import tiednmt.models.tied_gru
import tiednmt.models.tied_lstm
import tiednmt.models.tied_lstm_lm
import tiednmt.models.tied_rhn_lm
import tiednmt.models.tied_transformer
import tiednmt.models.tied_transformer_gru
import tiednmt.models.tied_transformer_lm
import tiednmt.optim.nt_asgd
import tiednmt.tasks.tied_language_modeling
import tiednmt.tasks.tied_translation  # noqa: F401
from tiednmt import patches

patches.put_in_place()
