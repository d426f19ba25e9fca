"""Cases of the rows of pyops/ops/rbf.py, and calls that they refuse."""
from ...core.cases import A, I, bad, case


def _torch_distances(torch, x, w):
    return ((x.unsqueeze(-2) - w) ** 2).sum(-1)


def _torch_loss(torch, y, index, j=0.1, reduction="mean"):
    others = torch.cat([torch.full_like(y[:, :1], -j), -y], 1)
    loss = y.gather(1, index[:, None])[:, 0] + others.logsumexp(1)
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


CASES = {
    "squared_euclidean": [
        *(case(f"width{d}_centres{k}", "squared_euclidean", A(3, d), A(k, d), torch=_torch_distances)
          for d, k in ((1, 1), (7, 3), (8, 4), (16, 5), (17, 9), (300, 2))),
        case("lenet5", "squared_euclidean", A(6, 84), A(10, 84), batch=True, torch=_torch_distances),
        case("one_sample", "squared_euclidean", A(84), A(10, 84), torch=_torch_distances),
        case("small_distances_far_from_zero", "squared_euclidean", A(4, 33, offset=1e3), A(5, 33, offset=1e3), torch=_torch_distances),
        case("many_samples", "squared_euclidean", A(900, 84), A(10, 84), torch=_torch_distances),
        case("no_samples", "squared_euclidean", A(0, 7), A(3, 7), torch=_torch_distances),
        case("no_width", "squared_euclidean", A(2, 0), A(3, 0), torch=_torch_distances),
        case("no_centres", "squared_euclidean", A(2, 4), A(0, 4), torch=_torch_distances),
    ],
    "lenet5_loss": [
        *(case(f"classes{c}_{r}", "lenet5_loss", A(5, c), I(5, high=c), reduction=r, torch=_torch_loss)
          for c, r in ((1, "mean"), (7, "none"), (10, "mean"), (16, "sum"), (33, "none"))),
        case("each_by_batch", "lenet5_loss", A(6, 10, offset=3), I(6, high=10), reduction="none", batch=True, batched=(0, 1), torch=_torch_loss),
        case("large_penalties_and_j", "lenet5_loss", A(6, 10, offset=200.0), I(6, high=10), j=150.0, torch=_torch_loss),
        case("large_penalties_small_j", "lenet5_loss", A(6, 10, offset=200.0), I(6, high=10), j=1.0, torch=_torch_loss),
        case("many_samples", "lenet5_loss", A(2000, 10), I(2000, high=10), torch=_torch_loss),
        case("no_samples", "lenet5_loss", A(0, 10), I(0, high=10), reduction="sum", torch=_torch_loss),
    ],
}
REFUSES = {
    "squared_euclidean": [
        bad("other_width", "squared_euclidean", A(3, 4), A(2, 5), match=r"\(3, 4\) and \(2, 5\)"),
        bad("three_axes", "squared_euclidean", A(3, 4, 5), A(2, 5), match="squared_euclidean"),
    ],
    "lenet5_loss": [
        bad("label_too_large", "lenet5_loss", A(3, 4), I(3, high=5, low=4), match="target 4 "),
        bad("label_negative", "lenet5_loss", A(3, 4), I(3, high=0, low=-1), reduction="none", match="target -1 "),
        bad("fewer_labels", "lenet5_loss", A(3, 4), I(2, high=4), match=r"\(3, 4\) and \(2,\)"),
        bad("j_zero", "lenet5_loss", A(3, 4), I(3, high=4), j=0.0, match="j must be positive"),
        bad("unknown_reduction", "lenet5_loss", A(3, 4), I(3, high=4), reduction="max", match="'max'"),
    ],
}
