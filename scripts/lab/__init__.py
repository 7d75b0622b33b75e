"""Everything after training: runs, records, kinds of experiment, renderers, benchmarks."""
