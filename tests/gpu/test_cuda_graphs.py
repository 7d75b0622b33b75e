"""Updates by CUDA graphs: the numbers of the batches alone, replayed and mixed."""

import pytest
import torch

from tests.criterions.test_cuda_graphs import (
    WITH_GRAPHS,
    assert_same_updates,
    gradients,
    graphed,
    samples,
)
from tests.models.contract import build


@pytest.fixture(autouse=True)
def only_on_a_gpu(device):
    if device.type != "cuda":
        pytest.skip("graphs are a GPU's")


@pytest.mark.parametrize("arch", WITH_GRAPHS)
def test_graphs_compute_what_the_batches_do(arch, device):
    graphs = assert_same_updates(build(arch).to(device).train(), arch, device)
    assert len(graphs._graphs) == 2  # of two shapes, which came back


def test_rows_are_held_within_graphs(device):
    model = build("tied_gru", train_rows="20:").to(device).train()
    assert_same_updates(model, "tied_gru", device)


def test_gradients_of_several_replays_add_up(device):
    model = build("tied_gru").to(device).train()
    graphs, given = graphed(model), [*samples("tied_gru", device)]
    singly = []
    for sample in given[3:]:
        graphs(sample).loss.backward()
        singly.append(gradients(model))
    for sample in given[3:]:
        graphs(sample).loss.backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, sum(one[name] for one in singly))


@pytest.mark.parametrize("arch", WITH_GRAPHS)
def test_dropout_is_drawn_anew_and_repeats_with_the_seed(arch, device):
    model = build(arch, dtype=torch.float32, dropout=0.3).to(device).train()
    graphs, sample = graphed(model), next(samples(arch, device))
    losses = []
    for seed in (1, 1, 1, 2, 1):  # as usual, captured, replayed …
        torch.manual_seed(seed)
        losses.append(graphs(sample).loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[1] == losses[2] == losses[4] != losses[3]
