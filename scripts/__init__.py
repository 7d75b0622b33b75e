"""Command lines that are run from a clone: ``python -m scripts.<name>``."""
