"""Cases of the rows of pyops/ops/matmul.py, and calls that they refuse."""
from ...core.cases import A, I, bad, case


def _int8(why, x, outputs, bias=True):
    return case(why, "linear_int8", A(*x), I(outputs, x[-1], low=-127, high=128, whole="int8"),
                A(outputs, values="positive"), A(outputs) if bias else None, torch=_int8_by_torch)


def _int8_by_torch(torch, x, weight, scale, bias=None):
    return torch.nn.functional.linear(x, weight.to(x.dtype) * scale[:, None], bias)


CASES = {
    "matmul": [
        case("square", "matmul", A(33, 33), A(33, 33)),
        *(case(f"einsum_{equation}", "einsum", equation, *(A(*shape) for shape in shapes)) for equation, *shapes in (
            ("ij,jk->ik", (5, 7), (7, 9)), ("ij,jk", (5, 7), (7, 9)), ("bij,bjk->bik", (3, 5, 7), (3, 7, 9)),
            ("bqhd,bkhd->bhqk", (2, 5, 3, 8), (2, 6, 3, 8)), ("...ij,...jk->...ik", (2, 3, 4, 5), (3, 5, 6)),
            ("...a,...a", (3, 1, 5), (2, 5)), ("ii->i", (6, 6)), ("ii", (6, 6)), ("iij->j", (4, 4, 5)),
            ("iii->i", (4, 4, 4)), ("ij->ji", (3, 5)), ("ij->", (3, 5)), ("i,j->ij", (4,), (6,)),
            ("ij,ij->ij", (4, 6), (4, 6)), ("ij,ij->", (4, 6), (4, 6)), ("ijk,jil,kl->lk", (2, 3, 4), (3, 2, 5), (4, 5)),
            ("ab,bc,cd,de->ae", (9, 2), (2, 9), (9, 3), (3, 4)), ("ij,kj->ik", (4, 1), (3, 5)),
            ("bn,anm,bm->ba", (2, 5), (3, 5, 4), (2, 4)), ("aBc->cB", (2, 3, 4)), ("...i->...", (2, 3, 4)),
            (" i j , j -> i ", (3, 4), (4,)), ("i...,...i->", (3, 4), (4, 3)))),
        case("einsum_by_lists", "einsum", A(4, 5), [0, 1], A(5, 6), [1, 2], [0, 2]),
        case("einsum_no_values", "einsum", "ij,jk->ik", A(0, 3), A(3, 4)),
        case("einsum_nothing_to_sum", "einsum", "ij,jk->ik", A(2, 0), A(0, 4)),
        case("ragged_tiles", "matmul", A(13, 201), A(201, 50)),
        case("two_blocks_of_depth", "matmul", A(9, 400), A(400, 17)),
        case("three_chains_of_depth", "matmul", A(3, 1100), A(1100, 5)),
        case("two_chains_many_columns", "matmul", A(3, 600), A(600, 1030)),
        case("one_row", "matmul", A(1, 70), A(70, 65)),
        case("one_column", "matmul", A(70, 65), A(65, 1)),
        case("wide", "matmul", A(5, 3), A(3, 700)),
        case("vector_vector", "matmul", A(37), A(37)),
        case("vector_matrix", "matmul", A(7), A(7, 9)),
        case("matrix_vector", "matmul", A(9, 7), A(7)),
        case("batched", "matmul", A(3, 8, 5), A(3, 5, 6), batch=True, batched=(0, 1)),
        case("one_right_matrix", "matmul", A(2, 3, 8, 5), A(5, 6), batch=True),
        case("one_left_matrix", "matmul", A(8, 5), A(4, 5, 6)),
        case("broadcast_both", "matmul", A(2, 1, 4, 5), A(3, 5, 6)),
        case("batched_vector", "matmul", A(3, 4, 5), A(5)),
        case("bmm", "bmm", A(3, 4, 5), A(3, 5, 2)),
        case("several_to_a_vector", "bmm", A(19, 2, 2), A(19, 2, 2), batch=True, batched=(0, 1)),
        case("one_to_a_vector", "matmul", A(9, 3, 3), A(9, 3, 1), batch=True, batched=(0, 1)),
        case("a_few_vectors_wide", "bmm", A(5, 15, 13), A(5, 13, 43), batch=True, batched=(0, 1)),
        case("no_rows", "matmul", A(0, 5), A(5, 4)),
        case("empty_reduction", "matmul", A(3, 0), A(0, 4)),
        case("no_batch", "matmul", A(0, 3, 5), A(5, 4)),
        case("no_rows_batched", "matmul", A(2, 0, 8), A(2, 8, 4)),
        case("no_columns_batched", "matmul", A(2, 3, 8), A(2, 8, 0)),
        case("no_columns_of_one", "matmul", A(2, 3, 8), A(8, 0)),
        case("empty_reduction_batched", "matmul", A(2, 3, 0), A(2, 0, 4)),
        case("empty_reduction_of_one", "matmul", A(2, 3, 0), A(0, 4)),
    ],
    "linear": [
        case("one_sample", "linear", A(1, 50), A(11, 50), A(11)),
        case("ragged", "linear", A(7, 33), A(10, 33), A(10), batch=True),
        case("two_spans", "linear", A(6, 1500), A(9, 1500), A(9), batch=True),
        case("many_outputs", "linear", A(3, 20), A(203, 20), batch=True),
        case("three_axes", "linear", A(2, 3, 8), A(5, 8), A(5)),
        case("no_leading_axis", "linear", A(8), A(5, 8), A(5)),
        case("single_output", "linear", A(4, 8), A(8)),
        case("single_output_bias", "linear", A(4, 8), A(8), A(), torch=None),
        case("no_samples", "linear", A(0, 8), A(5, 8), A(5)),
        case("no_features", "linear", A(3, 0), A(5, 0), A(5)),
    ],
}
CASES["linear_int8"] = [
    *(_int8(f"rows{n}", (n, 50), 11) for n in (1, 2, 3, 4, 5, 9)),
    *(_int8(f"features{n}", (3, n), 6) for n in (1, 7, 8, 15, 16, 17, 31, 64)),
    *(_int8(f"outputs{n}", (2, 40), n, bias=False) for n in (1, 3, 4, 16, 17, 70)),
    _int8("many_of_all", (21, 300), 130), _int8("three_axes", (2, 3, 8), 5), _int8("no_leading_axis", (8,), 5),
    _int8("no_samples", (0, 8), 5), _int8("no_features", (3, 0), 5),
    _int8("no_outputs", (3, 8), 0),
]
REFUSES = {
    "matmul": [
        *(bad(f"einsum_{why}", "einsum", equation, *(A(*shape) for shape in shapes), match=match)
          for why, equation, shapes, match in (
              ("sizes", "ij,jk->ik", ((2, 3), (4, 5)), "sizes 3 and 4"), ("diagonal", "ii->i", ((2, 3),), "sizes 2 and 3"),
              ("result_unknown", "ij->iz", ((2, 3),), "must name axes"), ("result_twice", "ij->ii", ((2, 3),), "once"),
              ("digits", "i1->i", ((2, 3),), "by letters"), ("arrows", "ij->i->j", ((2, 3),), "arrow"),
              ("too_few", "ij,jk->ik", ((2, 3),), "has 2 operands, 1"), ("axes", "ijk->i", ((2, 3),), "does not name"),
              ("two_ellipses", "i...j...->i", ((2, 3),), "by letters"))),
        bad("reduced_axes", "matmul", A(3, 4), A(5, 6), match="do not fit"),
        bad("leading_axes", "matmul", A(2, 3, 4), A(3, 4, 5), match="broadcast"),
        bad("scalar", "matmul", A(), A(3), match="at least one axis"),
        bad("bmm_rank", "bmm", A(3, 4), A(4, 5), match="bmm"),
    ],
    "linear": [
        bad("features", "linear", A(3, 4), A(5, 6), match="do not fit"),
        bad("bias", "linear", A(3, 4), A(5, 4), A(4), match="bias"),
        bad("weight_rank", "linear", A(3, 4), A(1, 5, 4), match="weight"),
    ],
    "linear_int8": [
        bad("features", "linear_int8", A(3, 4), I(5, 6, high=9, whole="int8"), A(5), match="do not fit"),
        bad("scale", "linear_int8", A(3, 4), I(5, 4, high=9, whole="int8"), A(4), match="scale"),
        bad("bias", "linear_int8", A(3, 4), I(5, 4, high=9, whole="int8"), A(5), A(4), match="bias"),
        bad("weight_rank", "linear_int8", A(3, 4), I(4, high=9, whole="int8"), A(4), match="weight"),
        bad("weight_type", "linear_int8", A(3, 4), I(5, 4, high=9, whole="uint8"), A(5), match="must be int8, got uint8"),
    ],
}
