"""Command lines that are run from a clone: ``python -m scripts.<name>``."""

import logging

# fairseq opens the root logger to all messages, and these packages have many
for package in ("matplotlib", "sacrebleu"):
    logging.getLogger(package).setLevel(logging.WARNING)
