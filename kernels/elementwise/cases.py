"""Cases of the rows of pyops/ops/elementwise.py, and calls that they refuse."""
import numpy as np

from ...core.cases import A, bad, case

TAILS = (1, 7, 16, 33, 1000)


def unary(name, values="normal"):
    """The tails of every vector width."""
    return [*(case(f"n{n}", name, A(n, values=values), batch=True) for n in TAILS),
            case("scalar", name, A(values=values)), case("empty", name, A(3, 0, values=values))]


def broadcasting(call, values="normal"):
    """Every way in which two inputs can broadcast."""
    def pair(why, a, b, **how):
        return case(why, call, A(*a, values=values), A(*b, values=values), **how)
    return [*(pair(f"n{n}", (n,), (n,), batch=True, batched=(0, 1)) for n in TAILS),
            pair("number_array", (5, 7), ()), pair("array_of_one_first", (1, 1), (5, 33)),
            pair("per_column", (4, 3, 17), (17,), batch=True),
            pair("per_channel", (2, 3, 5, 7), (3, 1, 1), batch=True), pair("per_row", (9, 20), (9, 1)),
            pair("outer_product", (9, 1), (1, 20)), pair("both_repeat", (4, 1, 3, 1, 5), (2, 1, 6, 1)),
            pair("more_axes_second", (3, 1), (2, 2, 3, 5)), pair("empty", (3, 0), (3, 1)),
            case("python_number", call, A(5, 9, values=values), 1.5,
                 torch=None if call in ("maximum", "minimum") else "")]


CASES = {
    **{name: unary(name) for name in ("neg", "abs", "square", "exp", "expm1", "erf", "tanh", "sigmoid")},
    **{name: unary(name, "positive") for name in ("sqrt", "rsqrt", "reciprocal", "log", "log1p")},
    "add": broadcasting("add") + [
        case("alpha", "add", A(3, 20), A(20), alpha=-0.5), case("sub", "sub", A(3, 20), A(20)),
        case("sub_alpha", "sub", A(7), A(7), alpha=3)],
    "mul": broadcasting("mul") + [
        case("bilinear", "bilinear", A(4, 3), A(4, 5), A(2, 3, 5), A(2)),
        case("bilinear_no_bias", "bilinear", A(3), A(5), A(2, 3, 5))],
    "div": broadcasting("div", "positive"),
    "maximum": broadcasting("maximum"),
    "minimum": broadcasting("minimum"),
    "pow": broadcasting("pow", "positive") + [
        *(case(f"exponent_{e}", "pow", A(3, 17), e) for e in (2, 3, 0, 1)),
        *(case(f"exponent_{e}", "pow", A(3, 17, values="positive"), e) for e in (0.5, -1, -2.5)),
        case("number_first", "pow", 2.0, A(3, 17), torch=lambda torch, a, b: torch.pow(a, b))],
    "where": [
        case("same_shape", "where", np.arange(51).reshape(3, 17) % 3 == 0, A(3, 17), A(3, 17)),
        case("numbers_as_condition", "where", np.arange(51).reshape(3, 17) % 3, A(3, 17), A(3, 17), torch=None),
        case("condition_per_row", "where", np.array([[True], [False], [True]]), A(3, 17), A(17)),
        case("numbers", "where", np.arange(17) % 2 == 0, A(17), 0.0),
        case("empty", "where", np.zeros((3, 0), bool), A(3, 0), A(3, 1))],
    "clamp": [case("both", "clamp", A(3, 17), -0.5, 0.25), case("low", "clamp", A(33), min=0.0),
              case("high", "clamp", A(33), max=0.5),
              case("arrays", "clamp", A(3, 17), A(17, offset=-1), A(3, 1, offset=1)),
              case("crossed", "clamp", A(9), 0.5, -0.5), case("tanhshrink", "tanhshrink", A(33)), case("clip", "clip", A(9), -0.5, 0.5),
              *(case(f"softshrink_{limit}", "softshrink", A(3, 17), limit) for limit in (0.0, 0.5))],
}
REFUSES = {
    **{name: [bad("shapes_that_do_not_broadcast", name, A(3, 4), A(3, 5), match="broadcast")]
       for name in ("add", "div", "maximum", "minimum", "pow")},
    "where": [bad("shapes_that_do_not_broadcast", "where", np.ones(2, bool), A(3), A(3), match="broadcast")],
    "mul": [bad("shapes_that_do_not_broadcast", "mul", A(3, 4), A(3, 5), match="broadcast"),
            bad("bilinear", "bilinear", A(4, 3), A(4, 5), A(2, 5, 3), match="takes input1")],
    "clamp": [bad("softshrink_negative", "softshrink", A(3), -1.0, match="negative"),
              bad("clip_no_bound", "clip", A(3), match="min or max"),
              bad("no_bound", "clamp", A(3), match="min or max")],
}
