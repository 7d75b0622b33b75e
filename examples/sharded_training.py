"""A model with tied matrices, sharded over processes with FSDP2; torch alone, without fairseq.

torchrun --nproc-per-node 4 examples/sharded_training.py checkpoint

Without a GPU the processes talk through gloo. Any number of them trains the same model.
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.functional import pad

from tiednmt.tying import build_embeddings, guard_checkpoints, tie_map

DIM, BATCH, UPDATES = 32, 32, 60


@dataclass
class Vocabulary:
    """Entries in the order of their rows."""

    symbols: list[str]
    pad_index: int = 0


WORDS = Vocabulary(["<pad>", "<s>", *"abcdefgh"])


class Copier(nn.Module):
    """Reads a word of letters and says it again."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = build_embeddings("three-way", WORDS, WORDS, dim=DIM)
        self.source, self.target = self.embeddings.source, self.embeddings.target
        self.encoder, self.decoder = (nn.GRU(DIM, DIM, batch_first=True) for _ in range(2))
        self.output = self.embeddings.output

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        """The loss, so that all uses of a shared matrix lie between FSDP's two hooks."""
        assert self.source is not None
        _, state = self.encoder(self.source(source))
        previous = pad(source[:, :-1], (1, 0), value=1)
        features, _ = self.decoder(self.target(previous), state)
        loss = self.output.loss(features.flatten(0, 1), source.flatten(), WORDS.pad_index).loss
        return loss / source.numel()


def sharded(device: str) -> Copier:
    """Layers are sharded one by one; the shared matrix belongs to the whole model, once."""
    torch.manual_seed(1)  # the same start everywhere
    model = Copier().to(device)
    guard_checkpoints(model, WORDS, WORDS)
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    for layer in (model.encoder, model.decoder):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def main(folder: str) -> None:
    """Train, save the shards, load them into another model, and say what has become of it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    rank, workers = dist.get_rank(), dist.get_world_size()
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    model = sharded(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    collectives = CommDebugMode()
    for update in range(UPDATES):
        letters = torch.randint(2, len(WORDS.symbols), (BATCH, 4)).to(device)
        loss = model(letters.chunk(workers)[rank])  # FSDP averages over the workers
        optimizer.zero_grad()
        with collectives if update == UPDATES - 1 else nullcontext():
            loss.backward()
        optimizer.step()

    dcp.save(model.state_dict(), checkpoint_id=folder)
    restored = sharded(device)
    state = restored.state_dict()
    dcp.load(state, checkpoint_id=folder)
    restored.load_state_dict(state)
    loss = restored(letters)
    if rank == 0:
        print(tie_map(restored.embeddings, restored))
        counts = {str(name): count for name, count in collectives.get_comm_counts().items()}
        print(f"loss {loss.item():.6f}, collectives of a backward pass: {counts}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
