"""``fairseq-train`` that says how many gradients it sums over the workers, a line a time."""

from fairseq.distributed import utils
from fairseq_cli import train
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

LEAST = 1000  # fewer numbers are statistics

all_reduce = utils.all_reduce
wrap = DistributedDataParallel.__init__


def all_reduce_aloud(tensor, *args, **kwargs):
    if tensor.numel() >= LEAST:
        print("summed", tensor.numel(), flush=True)
    return all_reduce(tensor, *args, **kwargs)


def bucket_aloud(group, bucket):
    print("summed", bucket.buffer().numel(), flush=True)
    return allreduce_hook(group, bucket)


def wrap_aloud(self, *args, **kwargs):
    wrap(self, *args, **kwargs)
    self.register_comm_hook(None, bucket_aloud)


if __name__ == "__main__":
    utils.all_reduce = all_reduce_aloud
    DistributedDataParallel.__init__ = wrap_aloud
    train.cli_main()
