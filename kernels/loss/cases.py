"""Cases of the rows of pyops/ops/loss.py and pyops/ops/pointwise_loss.py, and calls that they
refuse."""
import numpy as np

from ...core.cases import A, Array, I, bad, case


def _index_cases(name, **kwargs):
    w = {"grad": False}
    return [
        *(case(f"classes{c}_{r}", name, A(5, c), I(5, high=c), reduction=r, **kwargs)
          for c, r in zip((1, 7, 8, 10, 16, 17, 33, 1000), ("none", "mean", "sum") * 3)),
        case("each_position", name, A(6, 11), I(6, high=11), batch=True, batched=(0, 1), reduction="none", **kwargs),
        case("one_sample", name, A(10), I(high=10), **kwargs),
        case("one_sample_each", name, A(10), I(high=10), A(10, values="positive", **w), reduction="none", **kwargs),
        case("batch_of_one", name, A(1, 10), I(1, high=10), reduction="none", **kwargs),
        case("weights_with_ignored", name, A(40, 5), I(40, high=5), A(5, values="positive", **w), ignore_index=2, **kwargs),
        case("pixels", name, A(2, 5, 3, 19), I(2, 3, 19, high=5), A(5, values="positive", **w), **kwargs),
        case("pixels_each", name, A(2, 5, 3, 7), I(2, 3, 7, high=5), ignore_index=0, batch=True, batched=(0, 1), reduction="none", **kwargs),
        case("sequence", name, A(3, 4, 6), I(3, 6, high=4), reduction="sum", **kwargs),
        case("one_position_an_image", name, A(4, 6, 1, 1), I(4, 1, 1, high=6), **kwargs),
        case("many_rows", name, A(1500, 10), I(1500, high=10), **kwargs),
        case("many_pixels", name, A(2, 21, 40, 33), I(2, 40, 33, high=21), **kwargs),
        case("no_rows_each", name, A(0, 5), I(0, high=5), reduction="none", **kwargs),
        case("no_rows_sum", name, A(0, 5), I(0, high=5), reduction="sum", **kwargs),
        case("no_pixels_each", name, A(2, 5, 0), I(2, 0, high=5), reduction="none", **kwargs),
        case("mean_of_no_rows", name, A(0, 5), I(0, high=5), gradient=False, **kwargs),
        case("all_ignored", name, A(3, 1), I(3, high=1), ignore_index=0, gradient=False, **kwargs),
    ]


def _index_refusals(name):
    return [
        bad("label_too_large", name, A(3, 4), I(3, high=5, low=4), match=f"{name}: target 4 "),
        bad("label_negative", name, A(3, 4), I(3, high=-1, low=-2), match="target -2 "),
        bad("label_too_large_pixels", name, A(2, 4, 3), I(2, 3, high=10**12 + 1, low=10**12), reduction="none", match="target 1000000000000 "),
        bad("fewer_labels", name, A(3, 4), I(2, high=4), match=r"target \(2,\) must be \(3,\)"),
        bad("labels_with_class_axis", name, A(3, 4), I(3, 1, high=4), match=r"target \(3, 1\)"),
        bad("scalar_input", name, A(), I(high=1), match=r"input \(\)"),
        bad("no_classes", name, A(3, 0), I(3, high=1), match="no classes"),
        bad("weight_of_other_width", name, A(3, 4), I(3, high=4), A(5), match=r"weight \(5,\)"),
        bad("unknown_reduction", name, A(3, 4), I(3, high=4), reduction="max", match="'max'"),
    ]


class Signs(Array):
    """Targets of 1 and -1."""

    def make(self, dtype, rng):
        return np.asarray(2 * rng.integers(0, 2, self.shape) - 1, dtype)


def _signs(*shape):
    return Signs(shape, grad=False)


def _cases(name, x, t, **kwargs):
    """The shapes that every loss is tried on; x and t make an input and a target of a shape."""
    return [*(case(f"n{n}_{r}", name, x(n), t(n), reduction=r, **kwargs)
              for n, r in zip((1, 7, 8, 16, 17, 33, 1000), ("none", "mean", "sum") * 3)),
            case("each_by_batch", name, x(3, 5, 7), t(3, 5, 7), reduction="none", batch=True, batched=(0, 1), **kwargs),
            case("scalar", name, x(), t(), reduction="mean", **kwargs),
            case("several_chunks", name, x(5, 4099), t(5, 4099), reduction="mean", **kwargs),
            case("empty_each", name, x(0, 3), t(0, 3), reduction="none", **kwargs),
            case("empty_sum", name, x(0, 3), t(0, 3), reduction="sum", **kwargs)]


def _refusals(name, **kwargs):
    return [bad("other_shape", name, A(3, 4, **kwargs), A(3, 5, **kwargs),
                match=rf"{name}: .*\(3, 5\)|{name}: .*\(3, 4\)"),
            bad("unknown_reduction", name, A(3, **kwargs), A(3, **kwargs), reduction="max",
                match=f"{name}: reduction .*'max'")]


def _unit(*shape):
    return A(*shape, values="unit")


def _fixed(*shape):
    """Targets that torch has no gradient for."""
    return A(*shape, values="unit", grad=False)


def _positive(*shape):
    return A(*shape, values="positive")


def _torch_focal(torch, x, t, alpha=0.25, gamma=2.0, reduction="none"):
    """torchvision.ops.sigmoid_focal_loss's formula."""
    p = torch.sigmoid(x)
    ce = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    loss = ce * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    if alpha >= 0:
        loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)




def _torch_head(torch, x, matrix, target, *, linear_bias=None, **how):
    """As the two calls: torch's own wants an axis of positions."""
    f = torch.nn.functional
    return f.cross_entropy(f.linear(x, matrix, linear_bias), target, **how)


_HEAD = {"torch": _torch_head}

CASES = {
    "cross_entropy": [*_index_cases("cross_entropy"),
           case("smoothed", "cross_entropy", A(7, 9), I(7, high=9), label_smoothing=0.1),
           case("smoothed_weighted_ignored", "cross_entropy", A(40, 5), I(40, high=5),
                A(5, values="positive", grad=False), ignore_index=1, label_smoothing=0.2),
           case("smoothed_pixels", "cross_entropy", A(2, 5, 3, 7), I(2, 3, 7, high=5),
                A(5, values="positive", grad=False), ignore_index=1, label_smoothing=0.2),
           case("smoothed_wholly", "cross_entropy", A(7, 9), I(7, high=9), label_smoothing=1.0),
           case("probabilities", "cross_entropy", A(7, 9), A(7, 9, values="unit")),
           case("probabilities_each", "cross_entropy", A(7, 19), A(7, 19, values="unit"), reduction="none", batch=True, batched=(0, 1)),
           case("probabilities_one_sample", "cross_entropy", A(9), A(9, values="unit"), label_smoothing=0.1),
           case("probabilities_smoothed_weighted", "cross_entropy", A(7, 9), A(7, 9, values="unit"),
                A(9, values="positive", grad=False), label_smoothing=0.3, reduction="sum"),
           case("probabilities_of_pixels", "cross_entropy", A(2, 5, 3, 7), A(2, 5, 3, 7, values="unit"),
                A(5, values="positive", grad=False), label_smoothing=0.3),
           # float32 keeps 1e4 to 1e-3: logits are as rounded, the loss of their differences is exact
           case("logits_far_from_zero", "cross_entropy", A(7, 9, offset=1e4), I(7, high=9)),
           ],
    "nll_loss": _index_cases("nll_loss"),
    "l1_loss": [*_cases("l1_loss", A, A),
                case("weighted_mean", "l1_loss", A(9), A(9), weight=A(9, values="positive", grad=False))],
    "mse_loss": [
        *_cases("mse_loss", A, A),
        case("weighted_mean", "mse_loss", A(3, 7), A(3, 7), weight=A(3, 7, values="positive", grad=False)),
        case("weighted_sum", "mse_loss", A(3, 7), A(3, 7), weight=A(3, 7, values="positive", grad=False), reduction="sum"),
        case("mean_of_nothing", "mse_loss", A(0, 3), A(0, 3), gradient=False)],
    "smooth_l1_loss": [
        *_cases("smooth_l1_loss", A, A), case("narrow", "smooth_l1_loss", A(33), A(33), beta=0.3),
        case("none_of_it", "smooth_l1_loss", A(9), A(9), beta=0.0)],
    "huber_loss": [
        *_cases("huber_loss", A, A), case("narrow", "huber_loss", A(33), A(33), delta=0.3),
        case("weighted_mean", "huber_loss", A(9), A(9), weight=A(9, values="positive", grad=False))],
    "binary_cross_entropy": [
        *_cases("binary_cross_entropy", _unit, _fixed),
        case("class_weights", "binary_cross_entropy", _unit(4, 5), _fixed(4, 5), A(5, values="positive", grad=False))],
    "binary_cross_entropy_with_logits": [
        *_cases("binary_cross_entropy_with_logits", A, _unit),
        case("far_logits", "binary_cross_entropy_with_logits", A(9, offset=200.0), _unit(9)),
        case("far_negative_logits", "binary_cross_entropy_with_logits", A(9, offset=-200.0), _unit(9)),
        case("class_and_positive_weights", "binary_cross_entropy_with_logits", A(4, 5), _unit(4, 5),
             A(5, values="positive", grad=False), pos_weight=A(5, values="positive", grad=False))],
    "kl_div": [
        *_cases("kl_div", A, _unit), case("per_batch", "kl_div", A(3, 5), _unit(3, 5), reduction="batchmean"),
        case("broadcast_target", "kl_div", A(3, 5), _unit(5), reduction="sum")],
    "kl_div_log_target": _cases("kl_div", A, A, log_target=True),
    "sigmoid_focal_loss": [
        *_cases("sigmoid_focal_loss", A, _unit, torch=_torch_focal),
        *(case(f"gamma{g}", "sigmoid_focal_loss", A(19), _unit(19), gamma=g, reduction="mean",
               torch=_torch_focal) for g in (0.0, 0.5, 1.0, 3.7)),
        case("no_alpha", "sigmoid_focal_loss", A(19), _unit(19), alpha=-1.0, torch=_torch_focal)],
    "poisson_nll_loss": [
        *_cases("poisson_nll_loss", A, _positive), case("full", "poisson_nll_loss", A(33), _positive(33), full=True)],
    "poisson_nll_loss_of_rate": [
        *_cases("poisson_nll_loss", _positive, _positive, log_input=False),
        case("full", "poisson_nll_loss", _positive(33), _positive(33), log_input=False, full=True)],
    "gaussian_nll_loss": [
        case("each", "gaussian_nll_loss", A(3, 17), A(3, 17), _positive(3, 17), reduction="none", batch=True, batched=(0, 1, 2)),
        case("full_mean", "gaussian_nll_loss", A(3, 17), A(3, 17), _positive(3, 17), full=True),
        case("variance_a_row", "gaussian_nll_loss", A(3, 5), A(3, 5), _positive(3)),
        case("variance_a_row_with_axis", "gaussian_nll_loss", A(3, 5), A(3, 5), _positive(3, 1), reduction="sum"),
        case("one_variance", "gaussian_nll_loss", A(3, 5), A(3, 5), 0.7)],
    "soft_margin_loss": _cases("soft_margin_loss", A, _signs),
    "hinge_embedding_loss": [*_cases("hinge_embedding_loss", A, _signs),
                             case("margin", "hinge_embedding_loss", A(17), _signs(17), margin=0.3)],
    "margin_ranking_loss": [
        case("each", "margin_ranking_loss", A(3, 17), A(3, 17), _signs(3, 17), reduction="none", batch=True,
             batched=(0, 1, 2)),
        case("margin", "margin_ranking_loss", A(33), A(33), _signs(33), margin=0.5),
        case("sum", "margin_ranking_loss", A(7), A(7), _signs(7), reduction="sum")],
    "linear_cross_entropy": [
        *(case(name, "linear_cross_entropy", A(7, 5), A(19, 5), I(7, high=19), linear_bias=A(19), reduction=name,
               label_smoothing=0.1, **_HEAD) for name in ("none", "sum", "mean")),
        case("no_bias", "linear_cross_entropy", A(7, 5), A(19, 5), I(7, high=19), **_HEAD),
        case("one_position", "linear_cross_entropy", A(5), A(19, 5), I(high=19), linear_bias=A(19), **_HEAD),
        case("weights_and_ignored", "linear_cross_entropy", A(9, 5), A(4, 5), I(9, high=4),
             weight=A(4, values="positive", grad=False), ignore_index=2, label_smoothing=0.2, **_HEAD),
        case("no_positions", "linear_cross_entropy", A(0, 5), A(4, 5), I(0, high=4), reduction="sum", **_HEAD),
    ],
}
REFUSES = {
    "linear_cross_entropy": [
        bad("other_features", "linear_cross_entropy", A(3, 4), A(5, 6), I(3, high=5), match="linear_weight"),
        bad("bias_of_other_length", "linear_cross_entropy", A(3, 4), A(5, 4), I(3, high=5), linear_bias=A(4),
            match="linear_bias"),
        bad("no_such_class", "linear_cross_entropy", A(3, 4), A(5, 4), I(3, low=5, high=6), match="target 5"),
        bad("smoothing_beyond_one", "linear_cross_entropy", A(3, 4), A(5, 4), I(3, high=5), label_smoothing=1.5,
            match="label_smoothing.*1.5")],
    "cross_entropy": [*_index_refusals("cross_entropy"),
                      bad("probabilities_of_other_shape", "cross_entropy",
                          A(3, 4), A(3, 5), match=r"\(3, 5\)"),
                      bad("smoothing_beyond_one", "cross_entropy", A(3, 4), I(3, high=4), label_smoothing=1.5,
                          match="label_smoothing.*1.5")],
    "nll_loss": _index_refusals("nll_loss"),
    "l1_loss": _refusals("l1_loss") + [
        bad("weight_of_other_shape", "l1_loss", A(3), A(3), weight=A(1), match="weight")],
    "mse_loss": _refusals("mse_loss"),
    "smooth_l1_loss": [*_refusals("smooth_l1_loss"), bad("beta_negative", "smooth_l1_loss", A(3), A(3), beta=-1.0, match="beta")],
    "huber_loss": [*_refusals("huber_loss"), bad("delta_zero", "huber_loss", A(3), A(3), delta=0.0, match="delta")],
    "binary_cross_entropy": [*_refusals("binary_cross_entropy", values="unit"),
             bad("above_one", "binary_cross_entropy", A(3, values="unit", offset=1.0), _unit(3), match=r"within \[0, 1\], got 1\."),
             bad("below_zero", "binary_cross_entropy", A(3, values="unit", offset=-1.0), _unit(3), reduction="none", match="got -0"),
             bad("weight_too_long", "binary_cross_entropy", _unit(3), _unit(3), A(4), match=r"weight \(4,\)")],
    "binary_cross_entropy_with_logits": [*_refusals("binary_cross_entropy_with_logits"),
                                         bad("pos_weight_too_long", "binary_cross_entropy_with_logits", A(3),
                                             _unit(3), pos_weight=A(4), match="pos_weight")],
    "kl_div": _refusals("kl_div"),
    "sigmoid_focal_loss": [
        *_refusals("sigmoid_focal_loss"),
        bad("gamma_negative", "sigmoid_focal_loss", A(3), _unit(3), gamma=-1.0, match="gamma"),
        bad("alpha_above_one", "sigmoid_focal_loss", A(3), _unit(3), alpha=1.5, match="alpha")],
    "poisson_nll_loss": _refusals("poisson_nll_loss"),
    "gaussian_nll_loss": [
        bad("variance_negative", "gaussian_nll_loss", A(3), A(3), A(3, values="unit", offset=-1.0),
            match="var must not be negative, got -"),
        bad("variance_of_other_shape", "gaussian_nll_loss", A(3, 4), A(3, 4), _positive(5), match="var"),
        bad("eps_zero", "gaussian_nll_loss", A(3), A(3), _positive(3), eps=0.0, match="eps")],
    "soft_margin_loss": _refusals("soft_margin_loss"),
    "hinge_embedding_loss": _refusals("hinge_embedding_loss"),
    "margin_ranking_loss": [bad("other_shape", "margin_ranking_loss", A(3, 4), A(3, 4), A(3, 5), match="margin_ranking_loss: shapes")],
}
