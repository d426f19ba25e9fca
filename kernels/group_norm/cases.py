"""Cases of the rows of pyops/ops/group_norm.py, and calls that they refuse."""
from ...core.cases import A, bad, case
from ..batch_norm.cases import running

CASES = {
    "group_norm": [
        case("images", "group_norm", A(2, 6, 5, 7), 3, A(6), A(6), batch=True),
        case("one_group", "group_norm", A(2, 6, 19), 1, A(6), A(6), batch=True),
        case("a_group_each", "group_norm", A(3, 4, 33), 4, A(4), A(4), batch=True),
        case("channels_only", "group_norm", A(3, 70), 2, A(70), A(70), batch=True),
        case("groups_longer_than_a_piece", "group_norm", A(2, 4, 2500), 2, A(4), A(4)),
        case("volume_no_affine", "group_norm", A(2, 4, 2, 3, 5), 2, eps=1e-3),
        # torch 2.13 fails in its gradient
        case("no_weight", "group_norm", A(2, 4, 9), 2, None, A(4), torch=None),
        case("mean_far_from_zero", "group_norm", A(2, 4, 129, offset=1e3), 2, A(4), A(4), tolerance=4096),
        case("no_samples", "group_norm", A(0, 4, 9), 2, A(4), A(4)),
        case("instances", "instance_norm", A(2, 3, 5, 7), None, None, A(3), A(3), batch=True),
        case("instances_of_vectors_and_tail", "instance_norm", A(2, 3, 67), batch=True),
        case("instances_of_volumes", "instance_norm", A(2, 3, 2, 3, 5), None, None, A(3), None),
        # torch fails on no samples
        case("no_instances", "instance_norm", A(0, 3, 5), None, None, A(3), A(3), torch=None),
    ],
}
REFUSES = {
    "group_norm": [
        bad("groups_do_not_divide", "group_norm", A(2, 6, 3), 4, match="num_groups 4"),
        bad("no_groups", "group_norm", A(2, 6, 3), 0, match="num_groups 0"),
        bad("weight_of_other_width", "group_norm", A(2, 6, 3), 2, A(5), match="weight"),
        bad("one_value_an_instance", "instance_norm", A(2, 3, 1), match="more than one value"),
        bad("two_axes", "instance_norm", A(2, 3), match="three axes"),
        bad("no_statistics", "instance_norm", A(2, 3, 4), use_input_stats=False, match="running_mean"),
        bad("running_of_other_width", "instance_norm", A(2, 3, 4), *running(4), match="running_mean"),
    ],
}
