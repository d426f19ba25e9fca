"""Cases of the row of pyops/ops/rotary.py, and calls that it refuses."""
from ...core.cases import A, bad, case

NONE = {"torch": None}   # torch spells it out


def turned(why, x, table, **how):
    return [case(f"{why}_{name}", "rotary_embedding", x, A(*table), A(*table), **NONE, interleaved=pairs, **how)
            for name, pairs in (("halves", False), ("neighbours", True))]


CASES = {
    "rotary": [
        *turned("whole_head", A(2, 3, 5, 64), (5, 32)),
        *turned("quarter_of_a_head", A(2, 2, 7, 40), (7, 5)),
        *turned("odd_pairs_and_a_feature", A(3, 4, 39), (4, 19)),
        *turned("one_pair", A(4, 2), (4, 1)),
        *turned("seventeen_pairs", A(2, 3, 34), (3, 17)),
        *turned("table_of_each_sample", A(2, 3, 4, 18), (2, 1, 4, 9)),
        *turned("no_leading_axes", A(10), (4,)),
        *turned("one_turn_for_all", A(2, 3, 8), (1, 2)),
        *turned("no_rows", A(0, 3, 8), (3, 4)),
    ],
}
REFUSES = {
    "rotary": [
        bad("more_than_there_is", "rotary_embedding", A(2, 4), A(2, 3), A(2, 3), match="at most half of the features"),
        bad("tables_of_two_shapes", "rotary_embedding", A(2, 8), A(2, 3), A(2, 4), match="must be of one shape"),
        bad("table_of_more_rows", "rotary_embedding", A(1, 8), A(2, 3), A(2, 3), match="broadcast to the leading axes"),
        bad("no_pairs", "rotary_embedding", A(2, 8), A(2, 0), A(2, 0), match="must be of one shape"),
    ],
}
