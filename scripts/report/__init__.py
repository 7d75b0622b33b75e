"""One self-contained HTML page out of finished experiments: ``python -m scripts.report``."""
