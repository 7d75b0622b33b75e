"""A page in the browser for a trained model; ``tiednmt serve`` starts it."""
