"""Cases of the rows of pyops/ops/attention.py, and calls that they refuse."""
import numpy as np

from ...core.cases import A, bad, case


def _mask(rows, columns):
    """Every third pair hidden, and all of row 1."""
    seen = np.arange(rows * columns).reshape(rows, columns) % 3 != 0
    seen[1:2] = False
    return seen


CALL = "scaled_dot_product_attention"


def _within(why, q, k, v, begin=None, end=None, distance=None, **how):
    """begin and end as arrays, in ranges that reach beyond the keys."""
    spans = {name: np.asarray(value) for name, value in (("key_begin", begin), ("key_end", end)) if value is not None}
    by = {} if distance is None else {"distance_bias": A(*distance)}
    return case(why, CALL, A(*q), A(*k), A(*v), torch=None, **spans, **by, **how)


def _texts(*lengths):
    """Where each token's own text begins and ends, of texts one behind another."""
    ends = np.cumsum(lengths)
    return np.repeat(ends - lengths, lengths), np.repeat(ends, lengths)


def _bits(*shape, seed=0):
    """bfloat16's bits, cut off, of normal numbers."""
    return (np.random.default_rng(seed).standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def _dropped(why, q, k, v, mask=None, **how):
    return case(why, CALL, A(*q), A(*k), A(*v), mask, torch=None, **{"dropout_p": 0.3, "seed": 7} | how)


def _stored(why, q, k, v, begin=None, end=None, distance=None, **how):
    return case(why, CALL, A(*q, grad=False), _bits(*k), _bits(*v, seed=1), torch=None,
                **{name: np.asarray(value) for name, value in (("key_begin", begin), ("key_end", end))
                   if value is not None},
                **({} if distance is None else {"distance_bias": A(*distance, grad=False)}), **how)


CASES = {
    "attention_dropped": [
        *(_dropped(f"keys{n}", (2, 5, 8), (2, n, 8), (2, n, 8)) for n in (1, 7, 16, 35, 130)),
        *(_dropped(f"features{n}", (3, 9, n), (3, 11, n), (3, 11, n + 1)) for n in (1, 16, 33)),
        _dropped("several_blocks", (2, 3, 203, 20), (2, 3, 301, 20), (2, 3, 301, 37)),
        _dropped("one_block_of_two_panels", (2, 90, 8), (2, 128, 8), (2, 128, 8)),
        _dropped("one_query", (2, 3, 1, 20), (2, 3, 257, 20), (2, 3, 257, 20)),
        _dropped("bool_mask_hides_a_row", (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), _mask(5, 7)),
        _dropped("causal", (2, 3, 19, 8), (2, 3, 19, 8), (2, 3, 19, 8), is_causal=True),
        _dropped("causal_several_blocks", (2, 290, 8), (2, 150, 8), (2, 150, 8), is_causal=True),
        _dropped("leading_axes_broadcast", (2, 1, 5, 8), (3, 7, 8), (1, 3, 7, 4)),
        _dropped("grouped_queries", (2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 4), enable_gqa=True),
        _dropped("all_dropped", (2, 5, 8), (2, 7, 8), (2, 7, 4), dropout_p=1.0),
        _dropped("no_keys", (2, 5, 8), (2, 0, 8), (2, 0, 4)),
        _dropped("no_queries", (2, 0, 8), (2, 7, 8), (2, 7, 4)),
    ],
    "attention_stored": [
        *(_stored(f"one_query_{n}_keys", (2, 3, 1, 20), (2, 3, n, 20), (2, 3, n, 20)) for n in (1, 15, 16, 257, 600)),
        *(_stored(f"two_queries_{n}_features", (2, 2, n), (2, 19, n), (2, 19, n + 1)) for n in (1, 7, 32, 63, 128)),
        _stored("lengths_of_a_cache", (3, 2, 1, 64), (3, 2, 330, 64), (3, 2, 330, 64), end=[[[330]], [[0]], [[17]]]),
        _stored("a_span_by_distance", (2, 3, 1, 8), (2, 3, 530, 8), (2, 3, 530, 4), [[[3]], [[280]]],
                [[[270]], [[530]]], (3, 530)),
        _stored("more_queries_than_few", (2, 9, 8), (2, 40, 8), (2, 40, 8), np.arange(9), np.arange(9) + 20, (2, 48)),
        _stored("one_grouped_query", (2, 6, 1, 8), (2, 2, 270, 8), (2, 2, 270, 4), end=[[[260]], [[3]]], distance=(6, 270),
                enable_gqa=True),
        _stored("no_keys", (2, 1, 8), (2, 0, 8), (2, 0, 4)),
        _stored("no_queries", (2, 0, 8), (2, 7, 8), (2, 7, 4)),
    ],
    "attention_within": [
        _within("lengths", (3, 2, 9, 8), (3, 2, 35, 8), (3, 2, 35, 5), end=[[[35]], [[0]], [[17]]]),
        _within("texts_in_a_row", (2, 2, 45, 8), (2, 2, 45, 8), (2, 2, 45, 8), *_texts(7, 1, 20, 17)),
        _within("band_beyond_both_ends", (2, 150, 8), (2, 150, 8), (2, 150, 8), np.arange(150) - 20, np.arange(150) + 9),
        _within("band_of_a_causal", (2, 200, 4), (2, 200, 4), (2, 200, 4), np.arange(200) - 30, is_causal=True),
        _within("nothing_to_see", (2, 7, 8), (2, 9, 8), (2, 9, 8), np.full(7, 5), np.full(7, 5)),
        _within("several_blocks_of_keys", (2, 203, 5), (2, 301, 5), (2, 301, 7), 130 + np.arange(203) % 7,
                290 - np.arange(203) % 90),
        _within("by_distance", (2, 3, 9, 8), (2, 3, 13, 8), (2, 3, 13, 8), distance=(3, 21)),
        _within("by_distance_several_blocks", (2, 2, 110, 4), (2, 2, 140, 4), (2, 2, 140, 4), distance=(2, 249)),
        _within("by_distance_causal_for_all_heads", (2, 3, 19, 8), (2, 3, 19, 8), (2, 3, 19, 8), distance=(37,),
                is_causal=True),
        _within("by_distance_and_lengths", (2, 2, 11, 8), (2, 2, 12, 8), (2, 2, 12, 8), end=[[[12]], [[5]]],
                distance=(2, 1, 22)),
        _within("one_query", (2, 3, 1, 8), (2, 3, 530, 8), (2, 3, 530, 4), [[[3]], [[280]]], [[[270]], [[530]]],
                distance=(3, 530)),
        _within("four_queries_one_blind", (3, 4, 8), (3, 19, 8), (3, 19, 4), [0, 3, 7, 18], [1, 19, 7, 40]),
        _within("grouped_queries", (2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 4), end=[[[7]], [[3]]], distance=(6, 11),
                enable_gqa=True),
        _within("one_grouped_query", (2, 6, 1, 8), (2, 2, 270, 8), (2, 2, 270, 4), end=[[[260]], [[3]]],
                distance=(6, 270), enable_gqa=True),
        _within("no_keys", (2, 5, 8), (2, 0, 8), (2, 0, 4), end=[1], distance=(4,)),
        _within("no_queries", (2, 0, 8), (2, 7, 8), (2, 7, 4), distance=(6,)),
    ],
    "attention": [
        *(case(f"keys{n}", CALL, A(2, 5, 8), A(2, n, 8), A(2, n, 8), batch=True, batched=(0, 1, 2)) for n in (1, 7, 16, 35, 130)),
        *(case(f"features{n}", CALL, A(3, 9, n), A(3, 11, n), A(3, 11, n + 1)) for n in (1, 3, 8, 16, 33, 80)),
        case("features_and_values_120", CALL, A(2, 9, 120), A(2, 11, 120), A(2, 11, 120)),
        case("several_blocks", CALL, A(2, 3, 203, 20), A(2, 3, 301, 20), A(2, 3, 301, 37), batch=True, batched=(0, 1, 2)),
        case("no_leading_axes", CALL, A(5, 8), A(7, 8), A(7, 3)),
        case("leading_axes_broadcast", CALL, A(2, 1, 5, 8), A(3, 7, 8), A(1, 3, 7, 4)),
        case("bool_mask_hides_a_row", CALL, A(2, 3, 5, 8), A(2, 3, 7, 8), A(2, 3, 7, 4), _mask(5, 7)),
        case("bool_mask_per_sample", CALL, A(2, 3, 5, 8), A(2, 3, 7, 8), A(2, 3, 7, 4), (np.arange(14) % 7 < 5).reshape(2, 1, 1, 7)),
        case("bool_mask_of_blocks", CALL, A(2, 100, 8), A(2, 300, 8), A(2, 300, 4),
             np.arange(300)[None] >= 150 + np.arange(100)[:, None] % 60),
        case("float_mask", CALL, A(2, 3, 5, 8), A(2, 3, 7, 8), A(2, 3, 7, 4), A(3, 5, 7)),
        *(case(f"mask_of_{n}_features", CALL, A(2, 9, n), A(2, 11, n), A(2, 11, n), A(9, 11)) for n in (50, 90, 120)),
        case("float_mask_per_query", CALL, A(2, 3, 5, 8), A(2, 3, 7, 8), A(2, 3, 7, 4), A(5, 1)),
        case("causal", CALL, A(2, 3, 19, 8), A(2, 3, 19, 8), A(2, 3, 19, 8), is_causal=True, batch=True, batched=(0, 1, 2)),
        case("causal_more_keys", CALL, A(2, 150, 8), A(2, 290, 8), A(2, 290, 8), is_causal=True),
        case("causal_more_queries", CALL, A(2, 290, 8), A(2, 150, 8), A(2, 150, 8), is_causal=True),
        case("scale", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 8), scale=0.7),
        case("far_apart", CALL, A(2, 5, 8, offset=5), A(2, 200, 8, offset=5), A(2, 200, 8), scale=1.0, tolerance=4096),
        case("grouped_queries", CALL, A(2, 6, 5, 8), A(2, 2, 7, 8), A(2, 2, 7, 4), enable_gqa=True, batch=True, batched=(0, 1, 2)),
        case("grouped_queries_unalike", CALL, A(6, 5, 8), A(2, 7, 8), A(3, 7, 4), enable_gqa=True),
        case("grouped_queries_masked", CALL, A(2, 4, 5, 8), A(2, 2, 7, 8), A(2, 2, 7, 4), A(2, 4, 5, 7), enable_gqa=True),
        *(case(f"one_query_{n}_keys", CALL, A(2, 3, 1, 20), A(2, 3, n, 20), A(2, 3, n, 20), batch=True, batched=(0, 1, 2))
          for n in (1, 15, 16, 257, 600)),
        *(case(f"two_queries_{n}_features", CALL, A(2, 2, n), A(2, 19, n), A(2, 19, n + 1)) for n in (1, 7, 32, 63, 128)),
        case("one_query_hidden_keys", CALL, A(2, 3, 1, 8), A(2, 3, 530, 8), A(2, 3, 530, 4), np.arange(530)[None] % 300 < 7),
        case("two_queries_one_blind", CALL, A(3, 2, 8), A(3, 7, 8), A(3, 7, 4), _mask(2, 7)),
        case("four_queries_float_mask", CALL, A(3, 4, 8), A(3, 270, 8), A(3, 270, 4), A(3, 4, 270)),
        case("four_queries_causal", CALL, A(3, 4, 8), A(3, 9, 8), A(3, 9, 4), is_causal=True),
        case("one_grouped_query", CALL, A(2, 6, 1, 8), A(2, 2, 270, 8), A(2, 2, 270, 4), A(2, 6, 1, 270), enable_gqa=True, batch=True,
             batched=(0, 1, 2, 3)),
        case("one_grouped_query_unalike", CALL, A(6, 1, 8), A(2, 7, 8), A(3, 7, 4), enable_gqa=True),
        case("one_query_of_all_heads", CALL, A(2, 6, 1, 8), A(1, 1, 40, 8), A(1, 1, 40, 4)),
        case("one_query_far_apart", CALL, A(2, 1, 8, offset=5), A(2, 600, 8, offset=5), A(2, 600, 8), scale=1.0, tolerance=4096),
        case("one_query_no_keys", CALL, A(2, 1, 8), A(2, 0, 8), A(2, 0, 4)),
        case("no_keys", CALL, A(2, 5, 8), A(2, 0, 8), A(2, 0, 4)),
        case("no_queries", CALL, A(2, 0, 8), A(2, 7, 8), A(2, 7, 4)),
        case("no_batch", CALL, A(0, 5, 8), A(0, 7, 8), A(0, 7, 4)),
    ],
}
REFUSES = {
    "attention_dropped": [
        bad("seed_negative", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), dropout_p=0.5, seed=-1, match="seed"),
        bad("features", CALL, A(2, 5, 8), A(2, 7, 9), A(2, 7, 4), dropout_p=0.5, match="do not fit"),
    ],
    "attention_stored": [
        bad("values_are_floats", CALL, A(2, 1, 8), _bits(2, 7, 8), A(2, 7, 4), match="must both be uint16"),
        bad("with_a_mask", CALL, A(2, 1, 8), _bits(2, 7, 8), _bits(2, 7, 4), A(1, 7), match="no attn_mask"),
        bad("features", CALL, A(2, 1, 8), _bits(2, 7, 9), _bits(2, 7, 4), match="do not fit"),
    ],
    "attention_within": [
        bad("spans_of_other_length", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), key_end=np.ones(4, int),
            match=r"\(4,\) do not broadcast to \(2, 5\)"),
        bad("ends_of_two_shapes", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), key_begin=np.ones(5, int),
            key_end=np.ones(1, int), match="must be of one shape"),
        bad("distances_too_few", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), distance_bias=A(2, 10), match="distance_bias"),
        bad("with_a_mask", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), A(5, 7), key_end=np.ones(5, int), match="not both"),
    ],
    "attention": [
        bad("features", CALL, A(2, 5, 8), A(2, 7, 9), A(2, 7, 4), match="do not fit"),
        bad("keys_and_values", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 6, 4), match="do not fit"),
        bad("leading_axes", CALL, A(2, 5, 8), A(3, 7, 8), A(3, 7, 4), match="broadcast"),
        bad("one_axis", CALL, A(8), A(7, 8), A(7, 4), match="two axes"),
        bad("mask_shape", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), A(4, 7), match="attn_mask"),
        bad("mask_of_more_axes", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), A(3, 2, 5, 7), match="attn_mask"),
        bad("mask_and_causal", CALL, A(2, 5, 8), A(2, 5, 8), A(2, 5, 4), A(5, 5), is_causal=True, match="not both"),
        bad("heads", CALL, A(5, 5, 8), A(2, 7, 8), A(2, 7, 4), enable_gqa=True, match="multiple"),
        bad("dropout_above_one", CALL, A(2, 5, 8), A(2, 7, 8), A(2, 7, 4), dropout_p=1.5, match="p must be in"),
    ],
}
