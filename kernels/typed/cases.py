"""Cases of the rows of pyops/ops/{comparison,whole,real_functions,gather,order,whole_reduction}.py,
and calls that they refuse.

What a type's edges do (wrapping, division by zero, NaN, casts) is in tests/rows/test_typed.py.
"""
import numpy as np

from ...core.cases import A, Array, B, I, bad, case

TYPES = ("int64", "int32", "int16", "int8", "uint8")


class Signs(Array):
    """1 and -1."""

    def make(self, dtype, rng):
        return np.asarray(2 * rng.integers(0, 2, self.shape) - 1, np.int64)


def pairs(name, *, torch="", high=20, low=-20):
    """Of every type, with broadcasting, and with a number."""
    return [*(case(t, name, I(3, 7, high=high, low=max(low, 0) if t[0] == "u" else low, whole=t),
                   I(3, 7, high=high, low=max(low, 0) if t[0] == "u" else low, whole=t),
                   gradient=False, torch=torch) for t in TYPES),
            case("rows_and_columns", name, I(4, 1, 5, high=high, low=low), I(3, 1, high=high, low=low), gradient=False, torch=torch),
            case("number", name, I(33, high=high, low=low), 3, gradient=False, torch=None if name in ("maximum", "minimum") else torch),
            case("no_values", name, I(0, 3, high=high), I(3, high=high), gradient=False, torch=torch)]


def comparisons(name):
    return [*pairs(name, high=3, low=-3),
            case("floats", name, A(2, 33), A(2, 33), gradient=False, batch=True, batched=(0, 1)),
            case("float_and_number", name, A(2, 17), 0.25, gradient=False),
            case("float_column", name, A(5, 1), A(1, 9), gradient=False),
            case("truth", name, B(5, 7), B(5, 7), gradient=False),
            case("mixed", name, A(3, 4), I(3, 4, high=2, low=-2), gradient=False)]


def functions(name, **how):
    return [*(case(f"size{n}", name, A(n, **how)) for n in (1, 17)),
            case("image", name, A(2, 3, 5, 7, **how), batch=True),
            case("no_values", name, A(0, 3, **how)), case("scalar", name, A(**how))]


def steps(name):
    return [case("image", name, A(2, 3, 5, 7, scale=4.0), batch=True), case("no_values", name, A(0, 3))]


CASES = {
    "equal": comparisons("eq"), "not_equal": comparisons("ne"),
    "less": [*comparisons("lt"), *comparisons("gt")[:1]],
    "less_equal": [*comparisons("le"), *comparisons("ge")[:1]],
    "select": [
        case("whole", "where", B(3, 5), I(3, 5, high=9), I(5, high=9), gradient=False),
        case("bytes", "where",
             B(3, 5), I(3, 5, high=9, whole="uint8"), I(3, 5, high=9, whole="uint8"), gradient=False),
        case("truth", "where", B(3, 1), B(3, 5), B(1, 5), gradient=False),
        case("one_shape", "where", B(4, 9), I(4, 9, high=9), I(4, 9, high=9), gradient=False),
        *(case(f"hardshrink_{limit}", "hardshrink", A(3, 17), limit) for limit in (0.0, 0.5)),
        *(case(f"cosine_embedding_{r}", "cosine_embedding_loss", A(6, 9), A(6, 9), Signs((6,), grad=False), margin=0.2, reduction=r, tolerance=64)
          for r in ("none", "mean", "sum")),
        case("cosine_embedding_one", "cosine_embedding_loss", A(9), A(9), Signs((), grad=False), tolerance=64),
        *(case(f"multilabel_margin_{r}", "multilabel_margin_loss", A(3, 4), np.array([[3, 0, -1, 1], [2, 1, 0, 3], [-1, 0, 1, 2]]), reduction=r, tolerance=64)
          for r in ("none", "mean", "sum")),
        case("multilabel_margin_one", "multilabel_margin_loss", A(4), np.array([1, -1, -1, -1]), tolerance=64),
        case("whole_and_number", "where", B(4, 7), I(4, 7, high=9), 3, gradient=False),
    ],
    "whole_add": [*pairs("add"),
                  case("alpha", "add", I(3, 4, high=9), I(3, 4, high=9), alpha=3, gradient=False),
                  *pairs("sub")[:2]],
    "whole_mul": pairs("mul", high=10, low=-10), "whole_maximum": pairs("maximum"),
    "whole_minimum": pairs("minimum"),
    "whole_pow": [case(t, "pow", I(3, 7, high=4, low=0, whole=t), I(3, 7, high=3, whole=t), gradient=False)
                  for t in TYPES],
    "whole_div": [case(t, "div", I(3, 7, high=20, low=-20, whole=t), I(3, 7, high=5, low=1, whole=t),
                       rounding_mode="trunc", gradient=False) for t in TYPES[:4]],
    "shift_left": [
       case(t, "bitwise_left_shift", I(3, 7, high=9, whole=t), I(3, 7, high=5, whole=t), gradient=False)
       for t in TYPES],
    "shift_right": [
        case(t, "bitwise_right_shift", I(3, 7, high=99, whole=t), I(3, 7, high=5, whole=t), gradient=False)
        for t in TYPES],
    "nonzero": [
        case("whole", "nonzero", I(3, 5, high=2), gradient=False),
        case("floats", "nonzero", np.array([[0.0, -0.0, np.nan], [1e-30, np.inf, 0.0]], np.float32), gradient=False),
        case("truth", "nonzero", B(2, 3, 4), gradient=False),
        case("apart", "nonzero", B(4, 9), as_tuple=True, gradient=False),
        case("one_axis", "nonzero", I(70, high=3, whole="uint8"), gradient=False),
        case("none", "nonzero", I(2, 3, high=1), gradient=False),
        case("no_values", "nonzero", A(0, 3), gradient=False),
        case("selected", "masked_select", A(3, 5), B(3, 5), gradient=False),
        case("selected_by_rows", "masked_select", A(3, 5), B(3, 1), gradient=False),
    ],
    "take_blocks": [
        case("values", "gather_nd", A(5, 4), np.array([[0, 1], [4, -1]]), torch=None, gradient=False),
        case("rows", "gather_nd", A(5, 4, 3), I(6, 1, high=5), torch=None, gradient=False),
        case("batch", "gather_nd", A(5, 4, 3), I(5, 2, 1, high=4), 1, torch=None, gradient=False),
        case("whole", "gather_nd", I(5, 4, high=9, whole="uint8"), I(6, 1, high=5), torch=None,
             gradient=False),
        case("everything", "gather_nd", A(5, 4), np.zeros((3, 0), np.int64), torch=None, gradient=False),
    ],
    "put_blocks": [
        case("rows", "scatter_nd", A(5, 4), np.array([[3], [0]]), A(2, 4), torch=None, gradient=False),
        case("values", "scatter_nd", A(5, 4), np.array([[0, 1], [4, -1], [0, 1]]), A(3), torch=None,
             gradient=False),
        *(case(r, "scatter_nd", A(5, 4), I(9, 1, high=5), A(9, 4), r, torch=None, gradient=False, tolerance=8)
          for r in ("add", "mul", "max", "min")),
        case("whole", "scatter_nd", I(5, 4, high=9), I(9, 2, high=4), I(9, high=9), "add", torch=None,
             gradient=False),
    ],
    "whole_neg": [case(t, "neg", I(3, 7, high=9, low=-9, whole=t), gradient=False) for t in TYPES[:4]],
    "whole_abs": [case(t, "abs", I(3, 7, high=9, low=-9, whole=t), gradient=False) for t in TYPES[:4]],
    "bitwise_and": [*pairs("bitwise_and"), case("truth", "logical_and", B(3, 5), B(3, 5), gradient=False)],
    "bitwise_or": [*pairs("bitwise_or"), case("truth", "logical_or", B(3, 5), B(3, 1), gradient=False)],
    "bitwise_xor": [*pairs("bitwise_xor"),
                    case("truth", "logical_xor", B(3, 5), I(3, 5, high=2), gradient=False)],
    "bitwise_not": [case("whole", "bitwise_not", I(3, 7, high=9, low=-9), gradient=False),
                    case("truth", "bitwise_not", B(3, 7), gradient=False)],
    "logical_not": [case("whole", "logical_not", I(3, 7, high=2), gradient=False),
                    case("floats", "logical_not", A(9), gradient=False)],
    "isnan": [case("floats", "isnan", A(3, 8), gradient=False)],
    "isinf": [case("floats", "isinf", A(3, 8), gradient=False)],
    "floor_divide": [*pairs("floor_divide", high=9, low=1),
                     case("floats", "floor_divide", A(3, 17, scale=9.0), A(3, 17), gradient=False)],
    "remainder": [*pairs("remainder", high=9, low=1),
                  case("floats", "remainder", A(3, 17, scale=9.0), A(3, 17), gradient=False, tolerance=2)],
    "fmod": [*pairs("fmod", high=9, low=1),
             case("floats", "fmod", A(3, 17, scale=9.0), A(3, 17), gradient=False, tolerance=2)],
    "sign": [case("floats", "sign", A(2, 33), gradient=False),
             case("whole", "sign", I(33, high=3, low=-3), gradient=False)],
    "floor": steps("floor"), "ceil": steps("ceil"), "round": steps("round"), "trunc": steps("trunc"),
    **{name: functions(name, scale=2.0) for name in ("sin", "cos", "atan", "sinh", "cosh", "asinh")},
    "tan": functions("tan", values="unit"), "asin": functions("asin", values="unit"),
    "acos": functions("acos", values="unit"),
    "atanh": functions("atanh", values="unit"), "acosh": functions("acosh", values="positive", offset=1.0),
    # what is taken several times gets the sum of as many gradients: roundings
    "take": [
        case("rows", "index_select", A(5, 4), 0, I(7, high=5), tolerance=8),
        case("middle", "index_select", A(3, 5, 4), 1, I(9, high=5), tolerance=8),
        case("last", "index_select", A(3, 5), -1, I(2, high=5)),
        case("whole", "index_select", I(5, 4, high=9), 0, I(7, high=5), gradient=False),
        case("int32_index", "index_select", A(5, 4), 0, I(7, high=5, whole="int32"), tolerance=8),
        case("none", "index_select", A(5, 4), 1, I(0, high=1)),
    ],
    "take_along": [
        case("rows", "gather", A(5, 4), 0, I(7, 4, high=5), tolerance=8),
        case("last", "gather", A(3, 5), -1, I(3, 9, high=5), tolerance=8),
        case("shorter", "gather", A(4, 5, 6), 1, I(3, 2, 6, high=5), tolerance=8),
        case("bytes", "gather", I(5, 4, high=9, whole="uint8"), 0, I(5, 4, high=5), gradient=False),
        case("broadcast", "take_along_dim", A(4, 5), I(4, 1, high=5), 1, tolerance=8),
        case("negative", "take_along_dim", A(4, 5), I(4, 3, high=0, low=-5), 1, torch=None, tolerance=8),
    ],
    "put_along": [
        *(case(f"slice_scatter_{dim}_{start}_{end}_{step}", "slice_scatter", A(5, 7, 3), A(*shape), dim, start, end, step)
          for dim, start, end, step, shape in ((0, 1, 4, 1, (3, 7, 3)), (1, None, None, 2, (5, 4, 3)), (-1, -2, None, 1, (5, 7, 2)), (1, 5, 2, 1, (5, 0, 3)))),
        case("slice_scatter_whole", "slice_scatter", I(5, 4, high=9), I(2, 4, high=9), 0, 1, 3, gradient=False),
        case("select_scatter", "select_scatter", A(5, 7, 3), A(5, 3), 1, -2),
        *(case(f"multi_margin_{p}_{r}", "multi_margin_loss", A(6, 5), I(6, high=5), p, 0.7, reduction=r)
          for p in (1, 2) for r in ("none", "mean", "sum")),
        case("multi_margin_weight", "multi_margin_loss", A(6, 5), I(6, high=5), weight=A(5, values="positive", grad=False)),
        case("multi_margin_one", "multi_margin_loss", A(5), I(high=5)),
        case("put", "scatter", A(5, 4), 0, np.array([[0, 1, 2, 3], [4, 2, 1, 0]]), A(2, 4)),
        case("number", "scatter", A(5, 4), 1, I(5, 1, high=4), 2.5),
        case("add", "scatter_add", A(5, 4), 0, I(9, 4, high=5), A(9, 4)),
        case("longer", "scatter_add", A(5, 4), 1, I(3, 2, high=4), A(5, 6), torch=None),
        case("whole", "scatter_add", I(5, 4, high=9), 0, I(9, 4, high=5), I(9, 4, high=9), gradient=False),
        case("greatest", "scatter_reduce", A(5, 4), 0, I(9, 4, high=5), A(9, 4), "amax", gradient=False),
        case("product", "scatter_reduce", A(5, 4), 1, I(5, 2, high=4), A(5, 2), "prod", gradient=False,
             tolerance=8),
    ],
    "top": [
        case("last", "topk", A(3, 17), 5), case("smallest", "topk", A(3, 17), 4, -1, False),
        case("first_axis", "topk", A(9, 4), 2, 0),
        case("whole", "topk", I(3, 17, high=50), 17, torch=None, gradient=False),
        case("sorted", "sort", A(2, 33), batch=True), case("descending", "sort", A(33, 2), 0, True),
        case("order", "argsort", A(4, 9), 1, gradient=False), case("none", "topk", A(3, 4), 0),
        # lines that are looked through in parts, and values of which many are equal
        case("few_of_many", "topk", A(2, 70_001), 3, torch=None, gradient=False),
        case("equal_ones", "topk", I(2, 140_000, high=9), 100, torch=None, gradient=False),
        case("least_of_columns", "topk", A(1500, 3), 7, 0, False, torch=None, gradient=False),
    ],
    "quantise": [
        case("bytes", "quantize_linear", A(2, 33, scale=20.0), 0.25, 128, torch=None, gradient=False),
        case("signed", "quantize_linear", A(3, 7, scale=20.0), 0.125, 0, "int8", torch=None, gradient=False),
        case("channels", "quantize_linear", A(2, 5, 4, 3), A(1, 5, 1, 1, values="positive"),
             I(1, 5, 1, 1, high=9), "int16", torch=None, gradient=False),
        case("limits", "quantize_linear", A(40, scale=9.0), 0.5, 0, "int8", -7, 7, torch=None,
             gradient=False),
        case("columns", "quantize_linear", A(5, 9), A(9, values="positive"), 3, "uint16", torch=None,
             gradient=False),
        case("no_values", "quantize_linear", A(0, 3), 0.25, torch=None, gradient=False),
        case("one_shape", "quantize_linear", A(4, 9), A(4, 9, values="positive"), A(4, 9), torch=None,
             gradient=False),
    ],
    "fake_quantise": [
        case("bytes", "fake_quantize_per_tensor_affine", A(2, 33, scale=20.0), 0.25, 128, 0, 255, torch=None, gradient=False),
        case("signed", "fake_quantize_per_tensor_affine", A(3, 7, scale=20.0), 0.125, -5, -128, 127, torch=None, gradient=False),
        case("image", "fake_quantize_per_tensor_affine", A(2, 5, 4, 3, scale=9.0), 0.1, 0, -7, 7, torch=None, gradient=False, batch=True),
        case("short", "fake_quantize_per_tensor_affine", A(40, scale=900.0), 0.01, 100, 0, 65535, torch=None, gradient=False),
        case("no_values", "fake_quantize_per_tensor_affine", A(0, 3), 0.25, 0, 0, 255, torch=None, gradient=False),
    ],
    "dequantise": [
        *(case(t, "dequantize_linear", I(3, 33, high=99, whole=t), 0.25, 7, torch=None, gradient=False)
          for t in ("int8", "uint8", "int16", "uint16")),
        case("channels", "dequantize_linear", I(2, 5, 4, 3, high=99, whole="uint8"),
             A(1, 5, 1, 1, values="positive"), I(1, 5, 1, 1, high=9), torch=None, gradient=False),
        case("one_shape", "dequantize_linear", I(4, 9, high=99, whole="uint8"), A(4, 9, values="positive"),
             A(4, 9), torch=None, gradient=False),
    ],
    "cumsum": [
        case("last", "cumsum", A(3, 33), 1), case("first", "cumsum", A(33, 3), 0),
        case("middle", "cumsum", A(2, 9, 5), 1, batch=True),
        case("whole", "cumsum", I(3, 9, high=9, whole="int32"), 1, gradient=False),
        case("truth", "cumsum", B(3, 9), -1, gradient=False),
    ],
    "roll": [
        case("window", "roll", A(2, 5, 6, 3), (2, -1), (1, 2), batch=True), case("last", "roll", A(3, 33), 5, 1),
        case("flattened", "roll", A(3, 5), 7), case("twice", "roll", A(4, 6), (1, 2), (0, 0)),
        case("whole", "roll", I(3, 4, high=9, whole="int16"), (1, 1), (0, 1), gradient=False),
        case("int_of_numpy", "roll", A(3, 5), np.int64(2), np.int32(-1)), case("truth", "roll", B(3, 5), -2, 1, gradient=False), case("empty", "roll", A(0, 3), 1, 1)],
    "cumprod": [case("last", "cumprod", A(3, 9), 1, gradient=False),
                case("whole", "cumprod", I(3, 5, high=4), 0, gradient=False)],
    "whole_sum": [case("all", "sum", I(3, 5, high=9), gradient=False),
                  case("rows", "sum", I(3, 5, high=9, whole="int8"), 1, gradient=False),
                  case("truth", "sum", B(3, 5, 2), (0, 2), True, gradient=False)],
    "whole_prod": [case("last", "prod", I(3, 5, high=4), 1, gradient=False)],
    "any_max": [case("whole", "amax", I(3, 5, high=9), 1, gradient=False),
                case("any", "any", B(3, 2), 1, gradient=False),
                case("any_of_all", "any", A(3, 2), gradient=False)],
    "any_min": [case("whole", "amin", I(3, 5, high=9), 0, gradient=False),
                case("all", "all", B(3, 2), 1, True, gradient=False)],
    "any_argmax": [case("distinct", "argmax", np.array([[3, 1, 7], [9, 0, 2]]), 1, gradient=False),
                   case("flat", "argmax", np.array([[3, 1], [9, 0]]), gradient=False)],
    "any_argmin": [case("distinct", "argmin", np.array([[3, 1, 7], [9, 0, 2]]), 0, True, gradient=False)],
}
REFUSES = {
    "select": [bad("cosine_embedding", "cosine_embedding_loss", A(3, 4), A(3, 4), A(3, 4), match="takes inputs"),
               bad("multilabel_shapes", "multilabel_margin_loss", A(3, 4), I(3, 5, high=1), match="takes input and target")],
    "equal": [bad("shapes", "eq", I(3, high=2), I(4, high=2), match="broadcast")],
    "roll": [bad("shift_not_whole", "roll", A(3, 5), 1.5, 0, match="shifts must be an int", error=TypeError),
             bad("fewer_dims", "roll", A(3, 5), (1, 2), 0, match="as many shifts")],
    "take": [bad("index_too_large", "index_select", A(5, 2), 0,
                 I(3, high=6, low=5), match="index 5 is outside an axis of size 5", error=IndexError),
             bad("index_of_two_axes", "index_select", A(5, 2), 0, I(3, 1, high=5), match="one axis")],
    "take_along": [bad("negative", "gather", A(5, 2), 0, I(3, 2, high=0, low=-1),
                       match="index -1", error=IndexError),
                   bad("axes", "gather", A(5, 2), 0, I(3, high=2), match="as many axes"),
                   bad("longer", "gather", A(5, 2), 0, I(3, 3, high=2), match="no longer")],
    "put_along": [bad("slice_shape", "slice_scatter", A(5, 2), A(2, 2), 0, 1, 4, match=r"src must be of shape \(3, 2\)"),
                  bad("slice_step", "slice_scatter", A(5, 2), A(2, 2), 0, 1, 4, 0, match="positive step"),
                  bad("select_index", "select_scatter", A(5, 2), A(2), 0, 5, match="index 5 is outside"),
                  bad("multi_margin_p", "multi_margin_loss", A(5, 2), I(5, high=2), 3, match="p must be 1 or 2"),
                  bad("multi_margin_shapes", "multi_margin_loss", A(5, 2), I(4, high=2), match="takes input"),
                  bad("shorter_source", "scatter", A(5, 2), 0, I(3, 2, high=2), A(2, 2), match="at least as long"),
                  bad("reduce", "scatter", A(5, 2), 0, I(3, 2, high=2), A(3, 2), "mean", match="add or multiply")],
    "fake_quantise": [bad("zero", "fake_quantize_per_tensor_affine", A(3), 0.5, 300, 0, 255, match="must ascend"),
                      bad("scale", "fake_quantize_per_tensor_affine", A(3), 0.0, 0, 0, 255, match="be positive")],
    "quantise": [bad("type", "quantize_linear", A(3), 0.5, 0, "int64", match="int8, uint8", error=TypeError),
                 bad("limits", "quantize_linear", A(3), 0.5, 0, "int8", -200, match="do not lie within")],
    "top": [bad("too_many", "topk", A(3, 4), 5, match="k must be from 0 to 4")],
}
