"""Cases of the rows of pyops/ops/activation.py, and calls that they refuse. A function of one array
has those of `common` unasked.
"""
from ...core.cases import A, bad, case
from . import reference

TAILS = (1, 7, 16, 33, 1000)


def common(name, torch=""):
    """What every activation is tried on."""
    return [*(case(f"n{n}", name, A(n), batch=True, torch=torch) for n in TAILS),
            case("image", name, A(2, 3, 5, 7), torch=torch),
            case("scalar", name, A(), torch=torch), case("empty", name, A(3, 0), torch=torch),
            case("saturated", name, A(3, 17, offset=30), torch=torch),
            case("saturated_below", name, A(3, 17, offset=-30), torch=torch)]


CASES = {
    **{name: common(name) for name in (each.removesuffix("_slope") for each in vars(reference) if each.endswith("_slope"))},
    "hardtanh": common("hardtanh") + [case("bounds", "hardtanh", A(33), -0.3, 0.7), case("relu6", "relu6", A(33, offset=5))],
    "shrink": [case("hard", "hardshrink", A(33)), case("soft", "softshrink", A(3, 17), 0.3)],
    "threshold": [case("to_a_value", "threshold", A(33), 0.1, 20.0)],
    "leaky_relu": common("leaky_relu") + [case("slope", "leaky_relu", A(33), 0.3)],
    "elu": common("elu") + [case("alpha", "elu", A(33), 0.7), case("selu", "selu", A(5, 33)),
                            case("celu", "celu", A(33)), case("celu_alpha", "celu", A(33), 0.5)],
    "gelu_tanh": [case(f"n{n}", "gelu", A(n), approximate="tanh") for n in TAILS],
    # spelt out: torch 2.13's own double gradient multiplies by 1/6 rounded to float
    "hardsigmoid": common("hardsigmoid", lambda torch, x: torch.clamp(x + 3, 0, 6) / 6),
    "scaled_tanh": common("scaled_tanh", lambda torch, x: 1.7159 * torch.tanh(x * (2 / 3))),
    "softplus": common("softplus") + [case("beta_threshold", "softplus", A(7, 33), beta=3.0, threshold=2.0)],
    "prelu": [
               case("channels", "prelu", A(2, 3, 5, 7), A(3), batch=True), case("columns", "prelu", A(4, 33), A(33)),
               case("one_for_all", "prelu", A(2, 3, 17), A(1)), case("no_channel_axis", "prelu", A(33), A(1)),
               case("empty", "prelu", A(0, 3, 4), A(3))],
    "glu": [*(case(f"axis_{dim}", "glu", A(4, 6, 10), dim, batch=dim == 1) for dim in (0, 1, -1)), case("empty", "glu", A(3, 0)),
            *(case(f"half_{n}", "glu", A(3, 2 * n)) for n in (1, 7, 33)), case("long", "glu", A(2, 9000)),
            case("saturated", "glu", A(3, 34, offset=-30))],
}
REFUSES = {
    "hardtanh": [bad("bounds_crossed", "hardtanh", A(3), 1.0, -1.0, match="min_val")],
    "elu": [bad("celu_alpha_zero", "celu", A(3), 0.0, match="alpha")],
    "gelu": [bad("approximation_unknown", "gelu", A(3), approximate="erf", match="approximate")],
    "softplus": [bad("beta_zero", "softplus", A(3), beta=0.0, match="beta")],
    "glu": [bad("odd", "glu", A(3, 5), match="even size"), bad("no_axes", "glu", A(), match="out|even")],
    "prelu": [bad("weight_of_other_width", "prelu", A(2, 3, 4), A(4), match="channel")],
}
