"""``fairseq-train`` that says how many gradients it sums over the workers, a line a time."""

from fairseq.distributed import utils
from fairseq.models import distributed_fairseq_model
from fairseq_cli import train
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

LEAST = 1000  # fewer numbers are statistics

all_reduce = utils.all_reduce


def all_reduce_aloud(tensor, *args, **kwargs):
    if tensor.numel() >= LEAST:
        print("summed", tensor.numel(), flush=True)
    return all_reduce(tensor, *args, **kwargs)


def bucket_aloud(group, bucket):
    print("summed", bucket.buffer().numel(), flush=True)
    return allreduce_hook(group, bucket)


def on_a_cpu(*args, device_ids, output_device, **kwargs):
    """torch's own DDP; fairseq names a GPU even where it is told --cpu."""
    model = DistributedDataParallel(*args, **kwargs)
    model.register_comm_hook(None, bucket_aloud)
    return model


if __name__ == "__main__":
    utils.all_reduce = all_reduce_aloud
    distributed_fairseq_model.DistributedDataParallel = on_a_cpu
    train.cli_main()
