"""Weight tying for sequence models: a fairseq plugin (``fairseq-train --user-dir tiednmt``).

Importing the package registers its models, tasks and criterions with fairseq, lets fairseq's
checkpoints be loaded with torch's check of pickles left on and be copied whole, and makes bad input
one line instead of a traceback.
"""

from tiednmt import criterions, models, tasks
from tiednmt.checkpoints import allow_fairseq_types, copy_checkpoints_whole
from tiednmt.compatibility import provide_numpy_long
from tiednmt.errors import explain_uncaught_errors

allow_fairseq_types()
copy_checkpoints_whole()
provide_numpy_long()
explain_uncaught_errors()

__all__ = ["criterions", "models", "tasks"]
