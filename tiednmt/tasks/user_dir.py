"""``--user-dir tiednmt`` loads the plugin here: fairseq imports every file of this folder.

Only fairseq's commands do so, and theirs are the errors to explain: a program that imports the
plugin keeps its own way to end.
"""

import tiednmt.plugin  # noqa: F401
from tiednmt.errors import explain_uncaught_errors

explain_uncaught_errors()
