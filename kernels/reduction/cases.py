"""Cases of the rows of pyops/ops/broadcast.py and pyops/ops/reduction.py, and calls that they
refuse."""
import math

from ...core.cases import A, bad, case


def reductions(call, values="normal", torch="", empty=True):
    """A case for every order of kept and reduced axes, tails, and sizes beyond a block."""
    def one(why, shape, *args, **how):
        return case(why, call, A(*shape, values=values), *args, torch=torch, **how)
    return [
        *(one(f"row{n}", (3, n), 1) for n in (1, 7, 16, 33, 100)),
        *(one(f"column{n}", (5, n), 0) for n in (1, 7, 16, 33)),
        one("all", (3, 5, 7), (0, 1, 2)), one("middle", (2, 5, 7), 1, batch=True),
        one("negative_keepdim", (2, 5, 7), -2, keepdim=True),
        one("outer_and_inner", (4, 3, 5, 7), (0, 2, 3)), one("alternating", (2, 3, 4, 5), (1, 3)),
        one("no_axes", (), 0), one("longer_than_a_block", (2, 20011), 1, gradient=False),
        one("many_rows", (700, 18), 0), one("one_long_sum", (300007,), 0, gradient=False),
        one("tall", (40003, 9), 0, gradient=False), one("wide", (3, 2500), 0),
        *([one("empty_axis", (3, 0), 1)] if empty else []), one("no_outputs", (0, 3), 1)]


def refusals(call):
    return [bad("dim_out_of_range", call, A(3, 4), 2, match="out of range"),
            bad("dim_twice", call, A(3, 4), (0, -2), match="twice")]


def torch_extreme(name):
    """torch spells all axes as ()."""
    return lambda torch, x, dim, **how: getattr(torch, name)(x, () if dim is None else dim, **how)


def torch_norm(torch, *args):
    return torch.linalg.vector_norm(*args)


CASES = {
    "sum": [*reductions("sum"), *reductions("mean", empty=False), case("nothing", "mean", A(3, 0), 1, gradient=False),
            case("everything", "sum", A(3, 33))],
    "prod": [
        *(case(f"row{n}", "prod", A(3, n), 1) for n in (1, 7, 16, 33)), case("column", "prod", A(5, 33), 0),
        case("all", "prod", A(3, 5, 7)), case("middle_keepdim", "prod", A(2, 5, 7), 1, keepdim=True),
        case("two_axes", "prod", A(2, 3, 4), (0, 2), torch=None), case("empty_axis", "prod", A(3, 0), 1)],
    "amax": reductions("amax", "distinct", torch_extreme("amax"), empty=False),
    "amin": reductions("amin", "distinct", torch_extreme("amin"), empty=False),
    "var": [*(c for c in reductions("var", empty=False) if c.why not in ("row1", "no_axes")),
            case("one_value", "var", A(3, 1), 1, gradient=False),
            case("biased", "var", A(5, 33), 1, correction=0), case("std", "std", A(4, 33), 1),
            case("std_all", "std", A(4, 33)),
            case("mean_far_from_zero", "var", A(2, 257, offset=1e3), 1, tolerance=4096)],
    "logsumexp": reductions("logsumexp", empty=False) + [case("far", "logsumexp", A(3, 33, offset=300), 1)],
    "norm": [*(case(f"p{p}", "vector_norm", A(3, 33, 5), p, 1, torch=torch_norm)
               for p in (1, 2, 3, 0.5, math.inf, -math.inf)),
             case("p0", "vector_norm", A(3, 33), 0, 1, torch=torch_norm, gradient=False),
             case("fro_all", "norm", A(3, 33, 5)), case("keepdim", "norm", A(3, 33), 1, -1, True),
             case("rows", "norm", A(3, 33), dim=1),
             # and what is a norm and a little arithmetic
             *(case(f"normalize_{p}", "normalize", A(3, 17, 2), p) for p in (1.0, 2.0, 3.0, math.inf)),
             case("normalize_short", "normalize", A(3, 17, scale=1e-3), eps=0.5),
             case("cosine_similarity", "cosine_similarity", A(3, 33), A(3, 33)),
             case("cosine_similarity_broadcast", "cosine_similarity", A(3, 1, 5), A(4, 5), -1),
             *(case(f"pairwise_distance_{p}", "pairwise_distance", A(5, 9), A(5, 9), p) for p in (1.0, 2.0, 3.0)),
             case("pairwise_distance_one", "pairwise_distance", A(9), A(4, 9), keepdim=True),
             *(case(f"triplet_{r}{'_swap' * swap}", "triplet_margin_loss", A(5, 9), A(5, 9), A(5, 9), swap=swap, reduction=r)
               for r in ("none", "mean", "sum") for swap in (False, True)),
             case("triplet_p3", "triplet_margin_loss", A(5, 9), A(5, 9), A(5, 9), margin=2.0, p=3, eps=1e-3),
             case("triplet_by_default_distance", "triplet_margin_with_distance_loss", A(5, 9), A(5, 9), A(5, 9))],
    "arg_max": [
        *(case(f"row{n}", "max", A(3, n, values="distinct"), 1) for n in (1, 7, 16, 33)),
        case("column", "max", A(9, 33, values="distinct"), 0),
        case("middle_keepdim", "max", A(2, 5, 7, values="distinct"), 1, keepdim=True),
        case("no_outputs", "max", A(0, 3), 1),
        case("argmax", "argmax", A(5, 33, values="distinct"), 1, gradient=False),
        case("argmax_all", "argmax", A(5, 33, values="distinct"), gradient=False),
        case("max_all", "max", A(5, 33, values="distinct")), case("max_of_two", "max", A(5, 33), A(33)),
        case("a_long_row", "argmax", A(2, 200003, values="distinct"), 1, gradient=False)],
    "arg_min": [
        case("row", "min", A(3, 33, values="distinct"), 1), case("column", "min", A(9, 33, values="distinct"), 0),
        case("min_all", "min", A(5, 33, values="distinct")),
        case("argmin_keepdim", "argmin", A(5, 33, values="distinct"), 0, True, gradient=False)],
}
REFUSES = {
    **{name: refusals(name) for name in ("sum", "prod", "amin", "var", "logsumexp")},
    "amax": refusals("amax") + [bad("nothing", "amax", A(3, 0), 1, match="no value")],
    "norm": [bad("cosine_shapes", "cosine_similarity", A(3, 4), A(3, 5), match="broadcast"),
             bad("triplet_margin", "triplet_margin_loss", A(3, 4), A(3, 4), A(3, 4), margin=0, match="positive"),
             bad("triplet_reduction", "triplet_margin_loss", A(3, 4), A(3, 4), A(3, 4), reduction="max", match="'max'"),
             bad("nuclear", "norm", A(3, 3), "nuc", match="'fro'"),
             bad("norm_dim_out_of_range", "norm", A(3, 3), dim=4, match="out of range")],
}
