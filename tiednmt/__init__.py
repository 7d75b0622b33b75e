"""Weight tying for sequence models: a fairseq plugin (``fairseq-train --user-dir tiednmt``).

Importing the package registers its models and criterions with fairseq, lets fairseq's checkpoints
be loaded with torch's check of pickles left on, and makes bad input one line instead of a
traceback.
"""

from tiednmt import criterions, models
from tiednmt.checkpoints import allow_fairseq_types

allow_fairseq_types()

__all__ = ["criterions", "models"]
