"""Command lines that are run from a clone: ``python -m scripts.<name>``."""

import logging

# fairseq opens the root logger to debugging messages, and matplotlib has many
logging.getLogger("matplotlib").setLevel(logging.WARNING)
