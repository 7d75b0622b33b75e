"""The criterion against fairseq's own, and the penalty beside the loss."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from omegaconf import OmegaConf

from tests.support.small_models import JOINT, batch, model
from tiednmt.criterions.tied_cross_entropy import TiedCrossEntropy
from tiednmt.errors import UserError

TASK = SimpleNamespace(target_dictionary=JOINT)


def criterion(
    label_smoothing=0.0,
    projection_penalty=0.0,
    sentence_avg=False,
    update_freq=(1,),
    measure_rows=0,
    **others,
):
    options = {
        "label_smoothing": label_smoothing,
        "projection_penalty": projection_penalty,
        "sentence_avg": sentence_avg,
        "update_freq": list(update_freq),
        "measure_rows": measure_rows,
        "measure_gradients": 0,
        **others,
    }
    return TiedCrossEntropy(OmegaConf.create(options), TASK)


def sample():
    inputs, target = batch()
    return {
        "net_input": inputs,
        "target": target,
        "ntokens": int(target.ne(JOINT.pad()).sum()),
    }


@pytest.mark.parametrize("sentence_avg", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_fairseqs(smoothing, sentence_avg):
    built = model(projection=True).eval()
    theirs = LabelSmoothedCrossEntropyCriterion(TASK, sentence_avg, smoothing)
    ours = criterion(smoothing, sentence_avg=sentence_avg)
    loss, size, log = ours(built, sample())
    built.get_normalized_probs = _double_probabilities
    expected, expected_size, expected_log = theirs(built, sample())
    assert size == expected_size
    torch.testing.assert_close(loss, expected)
    for name, value in expected_log.items():
        assert log[name] == pytest.approx(value), name


def _double_probabilities(net_output, log_probs, sample=None):
    return net_output[0].log_softmax(-1)  # fairseq's own computes in single precision


def test_penalty_is_in_the_loss_alone():
    built = model(projection=True)
    plain, _, plain_log = criterion(0.1)(built, sample())
    loss, _, log = criterion(0.1, projection_penalty=0.3)(built, sample())
    expected = 0.15 * built.output_layer.projection.weight.square().sum()
    torch.testing.assert_close(loss - plain, expected, rtol=1e-6, atol=1e-6)
    assert log["penalty"] == pytest.approx(expected.item())
    assert log["nll_loss"] == plain_log["nll_loss"]


def test_the_likelihood_alone_is_validated():
    built = model(projection=True).eval()
    plain, _, _ = criterion(0.1)(built, sample())
    loss, _, log = criterion(0.1, projection_penalty=0.3)(built, sample())
    assert torch.equal(loss, plain)
    assert "penalty" not in log


def test_penalty_counts_once_an_update():
    built = model(projection=True)
    plain, _, _ = criterion()(built, sample())
    one, _, _ = criterion(projection_penalty=0.3)(built, sample())
    quarter, _, log = criterion(projection_penalty=0.3, update_freq=(4,))(built, sample())
    torch.testing.assert_close(4 * (quarter - plain), one - plain)
    assert log["penalty"] == pytest.approx((one - plain).item(), rel=1e-5)


def test_each_worker_has_its_part_of_the_penalty(monkeypatch):
    built = model(projection=True)
    plain, _, _ = criterion()(built, sample())
    one, _, _ = criterion(projection_penalty=0.3)(built, sample())
    monkeypatch.setattr(distributed_utils, "get_data_parallel_world_size", lambda: 4)
    part, _, _ = criterion(projection_penalty=0.3)(built, sample())
    torch.testing.assert_close(4 * (part - plain), one - plain)


def logged(outputs):
    with metrics.aggregate(new_root=True) as scope:
        TiedCrossEntropy.reduce_metrics(outputs)
    return scope.get_smoothed_values()


def test_figures_of_several_workers_are_joined():
    built = model(projection=True)
    outputs = [criterion(0.0, projection_penalty=0.3)(built, sample())[2] for _ in range(2)]
    values = logged(outputs)
    nll = outputs[0]["nll_loss"].item() / outputs[0]["ntokens"]
    assert values["nll_loss"] == pytest.approx(nll / math.log(2), abs=1e-3)
    assert values["ppl"] == pytest.approx(math.exp(nll), rel=1e-2)
    assert values["penalty"] == pytest.approx(outputs[0]["penalty"].item(), abs=1e-3)


def test_what_is_logged_is_per_sample_or_per_token():
    """The loss as it is divided, the rest per token; sums in nats become means in bits."""
    of_workers = [
        {"loss": 12.0, "nll_loss": 9.0, "divergence": 3.0, "ntokens": 6, "sample_size": 2},
        {"loss": 18.0, "nll_loss": 21.0, "divergence": 1.0, "ntokens": 9, "sample_size": 4},
    ]
    values = logged([{**log, "nsentences": 1, "batches": 1} for log in of_workers])
    assert values["loss"] == pytest.approx(30 / 6 / math.log(2), abs=1e-3)
    assert values["nll_loss"] == pytest.approx(30 / 15 / math.log(2), abs=1e-3)
    assert values["divergence"] == pytest.approx(4 / 15 / math.log(2), abs=1e-3)


def test_learned_scales_are_logged():
    built = model(input_scale="learned")
    outputs = []
    for source, target in ((2.0, 5.0), (3.0, 5.5)):  # of two batches, or two workers
        built.encoder.input_scale.factor.data.fill_(source)
        built.decoder.input_scale.factor.data.fill_(target)
        outputs.append(criterion(0.0)(built, sample())[2])
    values = logged(outputs)
    assert values["input_scale_source"] == pytest.approx(2.5)
    assert values["input_scale_target"] == pytest.approx(5.25)
    fixed = logged([criterion(0.0)(model(input_scale="4"), sample())[2]])
    assert not any(name.startswith("input_scale") for name in fixed)


class TestRDrop:
    def test_is_half_of_equation_4(self):
        built = model(dropout=0.3)
        torch.manual_seed(1)
        loss, size, log = criterion(r_drop=5.0)(built, sample())
        inputs, target = batch()
        torch.manual_seed(1)
        twice = {name: value.repeat_interleave(2, 0) for name, value in inputs.items()}
        log_p = built(**twice)[0].log_softmax(-1)
        one, other = (log_p[i::2][target.ne(JOINT.pad())] for i in (0, 1))
        nll = -sum(p.gather(1, target[target.ne(JOINT.pad())][:, None]).sum() for p in (one, other))
        divergence = ((one.exp() - other.exp()) * (one - other)).sum() / 2
        assert divergence > 0.1
        torch.testing.assert_close(loss, (nll + 5 * divergence) / 2)
        assert size == sample()["ntokens"]
        assert log["nll_loss"].item() == pytest.approx(nll.item() / 2)
        bits = divergence.item() / size / math.log(2)
        values = logged([{**log, "nsentences": 3}])
        assert values["divergence"] == pytest.approx(bits, abs=1e-3)

    def test_without_dropout_the_passes_agree(self):
        built = model()
        plain, _, _ = criterion(0.1)(built, sample())
        loss, _, log = criterion(0.1, r_drop=5.0)(built, sample())
        torch.testing.assert_close(loss, plain)
        assert log["divergence"].item() == pytest.approx(0, abs=1e-12)

    def test_what_is_validated_is_the_likelihood(self):
        built = model(dropout=0.3).eval()
        plain, _, _ = criterion(0.1)(built, sample())
        loss, _, log = criterion(0.1, r_drop=5.0)(built, sample())
        torch.testing.assert_close(loss, plain)
        assert "divergence" not in log

    def test_is_refused_without_pairs_of_sentences(self):
        stream = sample()
        del stream["net_input"]["prev_output_tokens"]
        with pytest.raises(UserError, match="--r-drop: for translation models"):
            criterion(r_drop=1.0)(model(), stream)

    @pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
    def test_the_weight_is_a_number_from_0(self, weight):
        with pytest.raises(UserError, match=f"--r-drop {weight}: must be "):
            criterion(r_drop=weight)

    def test_is_refused_with_cuda_graphs(self):
        with pytest.raises(UserError, match="--r-drop: not with --cuda-graphs"):
            criterion(r_drop=1.0, cuda_graphs=True, fp16=False, amp=False)


class TestRefused:
    def test_penalty_without_a_projection(self):
        with pytest.raises(UserError, match="--projection"):
            criterion(projection_penalty=0.1)(model(), sample())

    def test_penalty_over_a_changing_number_of_batches(self):
        with pytest.raises(UserError, match="--update-freq"):
            criterion(projection_penalty=0.1, update_freq=(2, 4))

    def test_measuring_at_a_number_below_zero(self):
        with pytest.raises(UserError, match="--measure-rows -1: must be 0 or more"):
            criterion(measure_rows=-1)
