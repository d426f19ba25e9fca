"""Cases of the rows of pyops/ops/shape.py, and calls that they refuse."""
import numpy as np

from ...core.cases import A, bad, case


def _indexed(torch, x, index):
    return x[index]


CASES = {
    "reshape": [
        case("to_one_axis", "reshape", A(2, 3, 4), (-1,)),
        case("inferred_axis", "reshape", A(2, 3, 4), (4, -1, 2)),
        case("int_shape", "reshape", A(2, 3), 6, torch=lambda t, x, n: t.reshape(x, (n,))),
        case("to_scalar", "reshape", A(1, 1), ()),
        case("no_values", "reshape", A(0, 3), (3, 0, 2)),
        case("flatten_all", "flatten", A(2, 3, 4)),
        case("flatten_features", "flatten", A(2, 3, 4), 1, batch=True),
        case("flatten_middle", "flatten", A(2, 3, 4, 5), 1, -2),
        case("flatten_scalar", "flatten", A()),
        case("flatten_no_batch", "flatten", A(0, 3, 4), 1),
        case("unflatten_inferred", "unflatten", A(2, 12), 1, (3, -1)),
        case("squeeze_all", "squeeze", A(1, 3, 1)),
        case("squeeze_one", "squeeze", A(1, 3, 1), -1),
        case("squeeze_of_three_does_nothing", "squeeze", A(1, 3, 1), 1),
        case("squeeze_two", "squeeze", A(1, 3, 1), (0, 2)),
        case("unsqueeze_last", "unsqueeze", A(2, 3), -1),
        case("unsqueeze_first", "unsqueeze", A(2, 3), 0),
    ],
    "permute": [
        case("rotation", "permute", A(2, 3, 4), (2, 0, 1)),
        case("negative_axes", "permute", A(2, 3, 4), (-1, 0, -2)),
        case("scalar", "permute", A(), ()),
        case("transpose", "transpose", A(2, 3, 4), 0, -1),
        case("transpose_batched", "transpose", A(2, 3, 4), 1, 2, batch=True),
        case("transpose_no_rows", "transpose", A(0, 3), 0, 1),
        case("movedim_two", "movedim", A(2, 3, 4, 5), (0, 1), (2, 0)),
        case("movedim_last_to_first", "movedim", A(2, 3, 4), -1, 0),
    ],
    "broadcast_to": [
        case("new_axis", "broadcast_to", A(3), (2, 3)),
        case("ones_and_new_axis", "broadcast_to", A(2, 1, 3), (4, 2, 5, 3)),
        case("scalar", "broadcast_to", A(), (2, 3)),
        case("to_no_rows", "broadcast_to", A(1, 3), (0, 3)),
        case("kept_axis", "broadcast_to", A(1, 3), (2, -1), torch=lambda t, x, s: x.expand(s)),
    ],
    "getitem": [
        case("one_row", "getitem", A(3, 4), 1, torch=_indexed),
        case("last_of_each", "getitem", A(3, 4), (Ellipsis, -1), torch=_indexed),
        case("steps_and_new_axis", "getitem", A(5, 7), (slice(1, None, 2), None, slice(None, 6, 3)), torch=_indexed),
        case("one_value", "getitem", A(3, 4), (1, 2), torch=_indexed),
        case("empty_slice", "getitem", A(3, 4), slice(2, 2), torch=_indexed),
        # what is taken twice gets the sum of two gradients: a rounding
        case("rows_by_a_list", "getitem", A(5, 4), [0, 3, -1, 3], torch=_indexed, tolerance=4),
        case("entries_by_two_arrays", "getitem", A(3, 4, 5), (np.array([[0], [2]]), slice(None), np.array([1, 1, -5])), torch=_indexed, tolerance=4),
        case("a_mask_of_two_axes", "getitem", A(3, 4, 5), np.arange(12).reshape(3, 4) % 5 < 2, torch=_indexed),
        case("a_mask_behind", "getitem", A(3, 4), (slice(1, None), np.array([True, False, False, True])), torch=_indexed),
        case("an_empty_list", "getitem", A(3, 4), np.zeros(0, np.int64), torch=_indexed),
        case("backwards", "getitem", A(5), slice(None, None, -2), torch=None),
        case("narrow_from_behind", "narrow", A(3, 6), 1, -4, 3),
        case("narrow_nothing", "narrow", A(3, 6), 1, 6, 0),
        case("select", "select", A(3, 4, 5), 1, -1),
        case("flip_two", "flip", A(3, 4, 5), (0, 2)),
        case("split_uneven", "split", A(7, 3), 3),
        case("split_sections", "split", A(3, 7), [2, 0, 5], 1),
        case("split_no_rows", "split", A(0, 3), 2),
        case("chunk_fewer_than_asked", "chunk", A(5, 2), 4),
        case("chunk_inner", "chunk", A(2, 5), 2, -1),
        case("unbind", "unbind", A(2, 3), 1),
    ],
    "cast": [
        case("copy", "clone", A(3, 17)), case("copy_of_a_number", "clone", A()), case("copy_of_nothing", "clone", A(3, 0)),
    ],
    "cat": [
        case("rows", "cat", [A(2, 3), A(1, 3), A(4, 3)]),
        case("narrow_columns", "cat", [A(3, 1), A(3, 2)], 1),
        case("channels", "cat", [A(2, 3, 5, 7), A(2, 1, 5, 7)], 1),
        case("last_axis_of_odd_widths", "cat", [A(5, 17), A(5, 33), A(5, 3)], -1),
        case("one_input", "cat", [A(3, 4)], 1),
        case("one_axis", "cat", [A(3), A(4)]),
        case("many_values", "cat", [A(3, 300, 301), A(3, 299, 301)], 1),
        case("many_narrow_rows", "cat", [A(150000, 1), A(150000, 2)], 1),
        case("empty_among_others", "cat", [A(2, 0, 3), A(2, 2, 3)], 1),
        case("legacy_empty", "cat", [A(0), A(2, 3)], gradient=False),   # what is left out has no gradient
        case("nothing", "cat", [A(0, 3), A(0, 2)], 1),
        case("stack_first", "stack", [A(2, 3), A(2, 3)]),
        case("stack_last", "stack", [A(2, 3), A(2, 3), A(2, 3)], -1),
        case("stack_scalars", "stack", [A(), A()]),
    ],
}
REFUSES = {
    "reshape": [
        bad("other_count", "reshape", A(2, 3), (4,), match=r"reshape: shape \(4,\).*6 values"),
        bad("not_divisible", "reshape", A(2, 3), (4, -1), match="reshape"),
        bad("two_unknown", "reshape", A(2, 3), (-1, -1), match="reshape"),
        bad("unknown_of_none", "reshape", A(0, 3), (0, -1), match="reshape"),
        bad("negative", "reshape", A(2, 3), (-2, -3), match="reshape"),
        bad("start_behind_end", "flatten", A(2, 3, 4), 2, 1, match="start_dim 2"),
        bad("no_such_axis", "unsqueeze", A(2, 3), 3, match="dim 3"),
        bad("squeeze_no_such_axis", "squeeze", A(2, 3), 2, match="dim 2"),
    ],
    "permute": [
        bad("axis_twice", "permute", A(2, 3), (0, 0), match="once"),
        bad("axis_missing", "permute", A(2, 3), (0,), match="once"),
        bad("no_such_axis", "transpose", A(2, 3), 0, 2, match="dim 2"),
        bad("movedim_uneven", "movedim", A(2, 3), (0, 1), 0, match="movedim"),
    ],
    "broadcast_to": [
        bad("other_size", "broadcast_to", A(2, 3), (4, 3), match=r"\(2, 3\).*\(4, 3\)"),
        bad("fewer_axes", "broadcast_to", A(2, 3), (3,), match="broadcast_to"),
        bad("new_axis_unknown", "broadcast_to", A(3), (-1, 3), match="broadcast_to"),
    ],
    "getitem": [
        bad("too_many_indices", "getitem", A(3, 4), (0, 0, 0), match="3 indices", error=IndexError),
        bad("list_outside", "getitem", A(3, 4), ([0, 5],), match="index 5 is outside axis 0", error=IndexError),
        bad("index_of_floats", "getitem", A(3, 4), ([0.5],), match="integers or booleans", error=TypeError),
        bad("mask_of_another_shape", "getitem", A(3, 4), (slice(None), np.ones(3, bool)), match="mask of shape", error=IndexError),
        bad("row_outside", "getitem", A(3, 4), 3, match="out of bounds", error=IndexError),
        bad("select_outside", "select", A(3, 4), 0, 3, match="index 3", error=IndexError),
        bad("narrow_outside", "narrow", A(3, 4), 1, 2, 3, match="length 3"),
        bad("sections_too_short", "split", A(7, 3), [2, 4], match="add up to 7"),
        bad("split_size_zero", "split", A(7, 3), 0, match="positive"),
        bad("no_chunks", "chunk", A(7, 3), 0, match="chunks"),
        bad("flip_twice", "flip", A(7, 3), (0, -2), match="twice"),
    ],
    "cat": [
        bad("other_rows", "cat", [A(2, 3), A(3, 3)], 1, match=r"\(2, 3\), \(3, 3\)"),
        bad("other_rank", "cat", [A(2, 3), A(2, 3, 1)], match="cat"),
        bad("no_input", "cat", [], match="at least one"),
        bad("scalars", "cat", [A(), A()], match="stack"),
        bad("no_such_axis", "cat", [A(2, 3), A(2, 3)], 2, match="dim 2"),
        bad("stack_of_two_shapes", "stack", [A(2, 3), A(2, 4)], match="one shape"),
        bad("stack_of_nothing", "stack", [], match="no input"),
    ],
}
