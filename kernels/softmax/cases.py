"""Cases of the rows of pyops/ops/softmax.py, and calls that they refuse."""
from ...core.cases import A, bad, case


def lines(name):
    return [
        *(case(f"line{n}", name, A(3, n), -1, batch=True) for n in (1, 7, 16, 35, 130)),
        *(case(f"many_lines_of_{n}", name, A(37, n), 1, batch=True) for n in (2, 4, 8, 9)),
        case("line_of_600", name, A(3, 600), 1, batch=True),
        case("line_of_601", name, A(2, 601), 1),
        case("line_of_17000", name, A(1, 17000), 1),
        case("line_of_several_pieces", name, A(2, 5000), 1, batch=True),
        case("across", name, A(2, 5, 19), 1, batch=True),
        case("across_one_column", name, A(2, 5, 3), 1, batch=True),
        case("across_several_blocks", name, A(2, 3, 20, 30), 1, batch=True),
        case("across_long_lines", name, A(2, 600, 35), 1, batch=True),
        case("first_axis", name, A(6, 35), 0),
        case("negative_axis", name, A(2, 5, 3), -2),
        case("implicit_axis_of_three", name, A(4, 5, 3)),
        case("implicit_axis_of_four", name, A(2, 5, 3, 4)),
        case("one_axis", name, A(40), 0),
        case("scalar", name, A(), 0),
        case("far_from_zero", name, A(3, 33, offset=1e3), 1),
        case("no_lines", name, A(0, 5), 1),
        case("lines_of_nothing", name, A(3, 0), 1),
        case("nothing_beside", name, A(3, 5, 0), 1),
    ]


def refusals(name):
    return [
        bad("no_such_axis", name, A(2, 3), 2, match="dim 2"),
        bad("no_such_axis_backwards", name, A(2, 3), -3, match="dim -3"),
        bad("axis_not_whole", name, A(2, 3), 0.5, match="integer", error=TypeError),
    ]


CASES = {
    "softmax": lines("softmax") + [case("softmin", "softmin", A(3, 19), 1, gradient=False)],
    "log_softmax": lines("log_softmax"),
}
REFUSES = {name: refusals(name) for name in CASES}
