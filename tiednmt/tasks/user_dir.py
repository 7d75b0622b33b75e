"""``--user-dir tiednmt`` loads the plugin here: fairseq imports every file of this folder."""

import tiednmt.plugin  # noqa: F401
