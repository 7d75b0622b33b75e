"""``fairseq-train`` that says how many gradients it sums over the workers, a line a time."""

from fairseq.distributed import utils
from fairseq_cli import train

LEAST = 1000  # fewer numbers are statistics

all_reduce = utils.all_reduce


def all_reduce_aloud(tensor, *args, **kwargs):
    if tensor.numel() >= LEAST:
        print("summed", tensor.numel(), flush=True)
    return all_reduce(tensor, *args, **kwargs)


if __name__ == "__main__":
    utils.all_reduce = all_reduce_aloud
    train.cli_main()
