"""Cases of the row of pyops/ops/permutohedral.py, and calls that it refuses."""
from ...core.cases import A, bad, case

# the lattice is no smooth function of features: where a simplex ends, gradients jump
CASES = {
    "permutohedral": [
        *(case(f"features{d}_channels{c}", "permutohedral_filter", A(40, d, scale=2, grad=False), A(40, c), torch=None)
          for d, c in ((1, 1), (2, 3), (3, 3), (5, 21), (3, 16), (4, 33), (16, 2))),
        case("one_point", "permutohedral_filter", A(1, 3, grad=False), A(1, 4), torch=None),
        case("all_in_one_place", "permutohedral_filter", A(30, 5, scale=0, grad=False), A(30, 4), torch=None),
        case("far_apart", "permutohedral_filter", A(30, 5, scale=300, grad=False), A(30, 4), torch=None),
        case("many_points", "permutohedral_filter", A(400, 5, scale=2, grad=False), A(400, 2), torch=None),
        case("transposed", "permutohedral_filter", A(40, 5, scale=2, grad=False), A(40, 7), transpose=True, torch=None),
        case("no_points", "permutohedral_filter", A(0, 3, grad=False), A(0, 4), torch=None),
        case("no_channels", "permutohedral_filter", A(7, 3, grad=False), A(7, 0), torch=None),
    ],
}
REFUSES = {
    "permutohedral": [
        bad("no_features", "permutohedral_filter", A(3, 0), A(3, 4), match="1 to 16"),
        bad("many_features", "permutohedral_filter", A(3, 17), A(3, 4), match=r"\(3, 17\)"),
        bad("other_points", "permutohedral_filter", A(3, 2), A(4, 2), match=r"\(3, 2\) and \(4, 2\)"),
        bad("one_axis", "permutohedral_filter", A(3), A(3, 2), match="permutohedral_filter"),
        bad("too_far", "permutohedral_filter", A(3, 2, offset=1e7), A(3, 2), match=r"1048576 in size, got 1e\+07"),
    ],
}
