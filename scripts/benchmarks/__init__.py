"""What ``python -m scripts.benchmark`` compares, a file a question."""
