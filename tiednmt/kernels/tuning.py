"""Constants that were measured, each with the machine and the command that measured it.

None changes a result, only its time or memory. Measure anew on another kind of machine, where the
command says how. "EPYC" is a virtual AMD EPYC with 4 cores (AVX512_BF16).
"""

from __future__ import annotations

# Scores of the loss that are held at once: as many as fit the cache of a CPU; on a GPU so many that
# launches do not count. EPYC, 4 threads, 2026-11-23:
#   python -m scripts.benchmark output-layer --threads 4
# The GPU's is not tuned; the H100 figures in docs/gpu.md were taken with it.
LOSS_SCORES_ON_CPU, LOSS_SCORES_ON_GPU = 2**22, 2**27
# Tokens of a chunk of the loss, at least, that make a product worth its pass over V. As above.
LOSS_TOKENS = 320
# Rows of V of a product that is rounded to bfloat16 before it is added up. EPYC, 2026-11-23:
#   python -m scripts.benchmark output-layer --threads 4 --precision medium
LOSS_ROWS = 8192

# Scores of a search that are held at once. EPYC, 4 threads, 2026-11-23:
#   python -m scripts.benchmark generate --threads 4
# The GPU's is as many as fit easily.
SEARCH_SCORES_ON_CPU, SEARCH_SCORES_ON_GPU = 2**20, 2**27
# Vocabulary entries of which only the best is looked at first. As above.
SEARCH_GROUP = 16
# Attention energies that a step of decoding holds at once without compiled kernels. As above.
DECODING_ENERGIES = 2**19
# Rows of a weight from which a CPU decodes faster with oneDNN's order of it than with its transpose
# (MKL), which needs less time per call.
# EPYC with 2 cores and AVX2, 1 thread, 2026-11-27: 46 GFLOP/s against 42 at 7,440 rows of 128, 25
# against 51 at 256. Xeon with 2 cores and AVX-512, 1 thread, 2026-11-28: 33 to 128 features take
# 1.6 ms against 2.0 at 7,440 rows of 128, 133 μs against 67 at 384, 299 against 271 at 768 of 256.
#   python -m scripts.benchmark generate --threads 1
ROWS_TO_PACK = 2048
# Numbers (hypotheses times dim) up to which a step of a Transformer's decoder is one kernel. Xeon
# with 2 cores and AVX-512, 1 thread, 2026-11-28, torch against the kernel: 1.4 ms against 0.2 for
# one hypothesis of four layers of 128, 8.2 against 6.2 for 128; 5.8 against 5.0 for 32 hypotheses
# of three layers of 256, 8.6 against 8.6 for 64.
#   python -m scripts.benchmark generate --threads 1 --beam 1 --against-beam 1
# And the weights of a layer up to which it is: about as many as fit the cache of a core.
#   python -m scripts.benchmark generate --threads 1 --beam 1 --against-beam 1
COMPILED_STEP_NUMBERS, COMPILED_STEP_WEIGHTS = 2**14, 2**20
# Numbers of the table of what a step computes from its token alone; a larger one is not made.
DECODING_TABLE = 2**25

# Sentences of a batch that end together: products of few distinct sizes, of whole vector registers.
# EPYC, 4 threads, 2026-11-23:
#   python -m scripts.benchmark train --threads 4
SENTENCES_OF_A_GROUP = 16
# Tokens of the longest sentence up to which attention among packed rows takes less time than
# torch's own on a padded batch: 10 ms against 17 at 13 tokens, 27 against 21 at 200, for 3,000 rows
# of 128 in 4 heads, forward and backward. A virtual Xeon with 2 cores, 1 thread, 2026-11-26:
#   python -m scripts.benchmark train --threads 1 --experiment multi30k-en-de-transformer
# An EPYC with AVX2 still gains a sixth at 500 tokens.
ATTENTION_TOKENS = 128
# Bytes that glibc keeps for the next tensor, and the size of tensors it keeps them for; kernels
# that oneDNN and ideep keep (1,024 each by default). EPYC, 2026-11-23:
#   python -m scripts.benchmark train --threads 4
FREED_BYTES_KEPT, SMALL_TENSOR_BYTES = 2**30, 2**25
ONEDNN_KERNELS_KEPT, IDEEP_KERNELS_KEPT = 64, 1

# Shapes of the batches that CUDA graphs are captured for: multiples of so many sentences and of so
# many tokens, and how many graphs are kept. Not tuned; the H100 figures were taken with them.
GRAPH_SENTENCES, GRAPH_TOKENS, GRAPHS_AT_MOST = 16, 4, 256

# Numbers of a row that a program of a GRU's step has, and that one of the attention holds at once.
# Vocabulary entries that a program of the loss holds at once. Not tuned; as for the graphs.
GPU_BLOCK, GPU_TILE, GPU_LOSS_BLOCK = 256, 4096, 4096
