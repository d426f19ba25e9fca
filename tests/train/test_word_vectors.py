"""Readers of word vectors: what they read, what they leave out and say so, and that nothing
malformed gets past or breaks them."""
import gzip
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import pyops
from pyops import nn
from pyops.text import read_glove, read_word2vec
from pyops.text.files import LONGEST_LINE

WORDS = ["the", ",", "naïve", "東京", ". . .", "at name@domain.com", "a\u00a0b", "\x85", "<unk>", "1", "'s"]


def table(rows=len(WORDS), dimension=7):  # noqa: B008
    return np.random.default_rng(0).standard_normal((rows, dimension)).astype(np.float32)


def as_text(words, vectors, end=""):
    return "".join(f"{w} {' '.join(map(repr, map(float, v)))}{end}\n"
                   for w, v in zip(words, vectors)).encode()


def as_binary(words, vectors, count=None, feed=b"\n"):
    return f"{len(words) if count is None else count} {vectors.shape[1]}\n".encode() + b"".join(
        (w if isinstance(w, bytes) else w.encode()) + b" " + v.astype("<f4").tobytes() + feed
        for w, v in zip(words, vectors))


def header(words, vectors):
    return f"{len(words)} {vectors.shape[1]}\n".encode()


@pytest.fixture
def file(tmp_path):
    def write(content):
        (tmp_path / "vectors").write_bytes(content)
        return tmp_path / "vectors"
    return write


ONE_PART = [w.replace(" ", "_") for w in WORDS]   # words of the binary format have no spaces
FORMATS = {
    "glove": (read_glove, {}, lambda w, v: as_text(w, v)),
    "word2vec_text": (read_word2vec, {}, lambda w, v: header(w, v) + as_text(w, v, " ")),
    "binary": (read_word2vec, {"binary": True}, lambda w, v: as_binary(w, v)),
    "binary_without_feeds": (read_word2vec, {"binary": True}, lambda w, v: as_binary(w, v, feed=b"")),
}


def parts(name):
    return ONE_PART if "binary" in name else WORDS


@pytest.fixture(params=FORMATS)
def written(request, file):
    """A reader of one format and a file in it: (words, vectors, read)."""
    reader, options, write = FORMATS[request.param]
    words, vectors = parts(request.param), table()
    path = file(write(words, vectors))
    return words, vectors, lambda **more: reader(path, **options, **more)


# ---- what is read

def test_every_format_gives_words_and_numbers_back(written):
    words, vectors, read = written
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = read(strict=True)
    assert got.words == words and np.array_equal(got.vectors, vectors) and got.vectors.dtype == np.float32
    assert (len(got) == len(words) and got.skipped == [] and got.vectors.flags.owndata
            and got.vectors.flags.writeable)
    assert np.array_equal(got["東京"], vectors[3]) and "東京" in got and "nothing" not in got


def test_words_and_limit_choose(written):
    words, vectors, read = written
    got = read(words=[words[8], words[1], "not there"])
    assert got.words == [words[1], words[8]] and np.array_equal(got.vectors, vectors[[1, 8]])
    assert read(limit=3).words == words[:3] and read(limit=3, words=words[2:]).words == words[2:5]
    assert (len(read(words=[])) == 0 and len(read(words=["not there"])) == 0
            and read(words=[]).vectors.shape == (0, 7))
    assert read(limit=1000).words == words


def test_what_lies_behind_the_last_wanted_word_is_not_read(file):
    path = file(as_text(WORDS[:3], table()[:3]) + b"bad line\n")
    assert read_glove(path, limit=3, strict=True).words == WORDS[:3]
    assert read_glove(path, words=WORDS[1:2], strict=True).words == WORDS[1:2]


def test_gzip_is_known_by_its_content(written, tmp_path):
    words, vectors, read = written
    path = tmp_path / "vectors"
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read().words == words and np.array_equal(read().vectors, vectors)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match="gzip"):
        read()


def test_tabs_double_spaces_and_carriage_returns_separate_too(file):
    got = read_glove(file(b"a\t1  2\r\nb 3 4 \nc 5e-1 -.5"))
    assert (got.words == ["a", "b", "c"]
            and np.array_equal(got.vectors, np.float32([[1, 2], [3, 4], [.5, -.5]])))


def test_the_dimension_is_what_most_lines_have(file):
    # a header that GloVe's files do not have, a word with spaces
    content = b"400000 300\n. . . 1 2 3\nb 1 2 3\nc 4 5 6\n"
    with pytest.warns(
            UserWarning,
            match="1 entry skipped, the first is 1: a word and 3 numbers expected, there are 2 fields"):
        got = read_glove(file(content))
    assert got.words == [". . .", "b", "c"]
    with pytest.warns(UserWarning, match="4 entries skipped"):
        assert read_glove(file(content + b"d 1 2\n"), dimension=2).words == ["d"]


# ---- what is left out

BAD = [(b"few 1 2", "a word and 3 numbers expected, there are 3 fields"),
       (b"many 1 2 3 4", "more than 3 numbers after 'many'"), (b"", "0 fields"),
       (b"word 1 two 3", "b'two' is not a number"), (b"word 1 1_0 3", "b'1_0' is not a number"),
       (b"\xff\xfe 1 2 3", "is not UTF-8"),
       (b"nan 1 nan 3", "the vector of 'nan' has a number that is not finite"),
       (b"huge 1 1e39 3", "not finite"), (b"inf 1 -inf 3", "not finite"),
       (b"first 7 8 9", "the word 'first' again; the first is kept"),
       (b"long" + b"g" * LONGEST_LINE + b" 1 2 3", "more than a megabyte")]


@pytest.mark.parametrize("line, why", BAD, ids=[why[-20:] for _, why in BAD])
@pytest.mark.parametrize("form", ["glove", "word2vec"])
def test_a_bad_line_is_skipped_and_listed_with_its_number(file, line, why, form):
    lines = b"first 1 2 3\nsecond 4 5 6\n" + line + b"\nlast 7 8 9\n"
    path, read, number = (file(lines), read_glove,
                          3) if form == "glove" else (file(b"4 3\n" + lines), read_word2vec, 4)
    with pytest.warns(UserWarning, match="1 entry skipped"):
        got = read(path)
    assert (got.words == ["first", "second", "last"]
            and np.array_equal(got.vectors, np.arange(1, 10, dtype=np.float32).reshape(3, 3)))
    assert got.skipped_count == 1 and got.skipped[0].number == number and why in got.skipped[0].why
    with pytest.raises(ValueError, match=rf"vectors, {number}: ") as error:
        read(path, strict=True)
    assert why in str(error.value)


def test_a_bad_entry_of_a_binary_file_is_skipped_and_listed(file):
    vectors = table(6, 3)
    vectors[2, 1], vectors[4, 0] = np.nan, np.inf
    path = file(as_binary([b"a", b"\xff\xff", b"c", b"a", b"e", b"f"], vectors))
    with pytest.warns(UserWarning, match="4 entries skipped, the first is 2: "):
        got = read_word2vec(path, binary=True)
    assert got.words == ["a", "f"] and np.array_equal(got.vectors, vectors[[0, 5]])
    assert [s.number for s in got.skipped] == [2, 3, 4, 5]
    assert ["UTF-8" in got.skipped[0].why, "finite" in got.skipped[1].why,
            "again" in got.skipped[2].why] == [True] * 3
    with pytest.raises(ValueError, match="2: the word .* is not UTF-8"):
        read_word2vec(path, binary=True, strict=True)


def test_only_the_first_thousand_bad_lines_are_listed(file):
    with pytest.warns(UserWarning, match="1500 entries skipped"):
        got = read_glove(file(b"a 1 2\n" * 1501))
    assert got.skipped_count == 1500 and len(got.skipped) == 1000 and got.skipped[-1].number == 1001


@pytest.mark.parametrize("cut", range(1, 28))
def test_a_truncated_binary_file_keeps_its_whole_words(file, cut):
    vectors = table(3, 3)
    content = as_binary(["ab", "cd", "ef"], vectors, feed=b"")
    path = file(content[:-cut])
    whole = 2 if cut <= 15 else 1
    with pytest.warns(UserWarning, match=f"the file ends after {whole} of 3 words"):
        got = read_word2vec(path, binary=True)
    assert (got.words == ["ab", "cd"][:whole] and np.array_equal(got.vectors, vectors[:whole])
            and got.skipped[0].number == whole + 1)
    with pytest.raises(ValueError, match=f"the file ends after {whole} of 3 words"):
        read_word2vec(path, binary=True, strict=True)


def test_a_header_that_counts_wrongly_is_reported(file):
    vectors = table(3, 4)
    for count, why in ((2, "more"), (5, "ends after 3 of 5")):
        with pytest.warns(UserWarning, match=why):
            got = read_word2vec(file(as_binary("abc", vectors, count)), binary=True)
        assert got.words == list("abc")[:count] and got.skipped[0].number == min(count, 3) + 1
        with pytest.warns(UserWarning, match=why):
            got = read_word2vec(file(f"{count} 4\n".encode() + as_text("abc", vectors)))
        assert got.words == list("abc")[:count] and got.skipped[0].number == min(count, 3) + 2


def test_a_header_that_asks_for_too_much_takes_no_memory(file):
    tracemalloc.start()
    with pytest.warns(UserWarning, match="of 999999999999 words"):
        read_word2vec(file(as_binary("abc", table(3, 300), 999999999999)), binary=True)
    with pytest.raises(ValueError, match="dimension 99999999"):
        read_word2vec(file(b"3 99999999\nab 123"), binary=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("read", [read_word2vec, lambda path: read_word2vec(path, binary=True)])
@pytest.mark.parametrize("content", [b"", b"\n", b"the 0.1 0.2\n", b"1 2 3\n", b"-1 4\n", b"4 0\na \n",
                                     b"3 4", b"\xff\xfe3 4\n", b"1" * 99 + b" 4\n"])
def test_no_word2vec_header(file, read, content):
    with pytest.raises(ValueError, match="not a word2vec file|dimension 0 is not"):
        read(file(content))


def test_a_file_of_another_kind_says_so(file, tmp_path):
    vectors = table(3, 50)
    for content in (b"\x89PNG\r\n\x1a\n" * 40, b"no numbers here\nat all\n", b"\n\n", b"",
                    bytes(range(256)) * 9):
        with pytest.raises(ValueError, match="no word vectors"):
            read_glove(file(content))
    with pytest.raises(ValueError, match="no word vectors"):
        read_word2vec(file(as_binary("abc", vectors)))
    with pytest.raises(ValueError, match="text format"):
        read_word2vec(file(header("abc", vectors) + as_text("abc", vectors)), binary=True)
    with pytest.raises(ValueError, match="zip archive"):
        read_glove(file(b"PK\3\4" + b"x" * 100))
    with pytest.raises(FileNotFoundError):
        read_glove(tmp_path / "nowhere")


def test_bad_arguments(file):
    path = file(as_text(WORDS, table()))
    with pytest.raises(TypeError, match="one str"):
        read_glove(path, words="the")
    for name in ("limit", "dimension"):
        with pytest.raises(ValueError, match=name):
            read_glove(path, **{name: 0})


def test_memory_is_the_result_and_little_more(file):
    words, vectors = [f"w{i}" for i in range(4000)], table(4000, 100)
    for content, read in ((as_text(words, vectors), read_glove),
                          (as_binary(words, vectors), lambda p: read_word2vec(p, binary=True))):
        path = file(content)
        tracemalloc.start()
        got = read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.array_equal(got.vectors, vectors)
        assert peak < 1.3 * vectors.nbytes + 1_000_000, "more than the array, its growth, and the words"


# ---- fuzzing: whatever a file holds, there is a result that is sound or a ValueError

def is_sound(read):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = read()
    except ValueError:
        return
    assert got.vectors.shape[0] == len(got.words) == len(got.index) and got.vectors.dtype == np.float32
    assert np.isfinite(got.vectors).all() and [got.index[w] for w in got.words] == list(range(len(got)))
    assert len(got.skipped) == min(got.skipped_count, 1000)
    if got.skipped_count:
        with pytest.raises(ValueError):
            read(strict=True)


lines = st.lists(st.one_of(st.binary(max_size=30), st.just(b"2 3"), st.just(b"3 2"),
                           st.lists(st.sampled_from([b"a", b"b c", b"1", b"-2.5", b"1e400", b"nan", b"1_0",
                                                     b"\xff", b"\xc2\xa0", b"0x1", b"", b"\0"]),
                                    max_size=6).map(b" ".join)),
                 max_size=12).map(b"\n".join)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), lines), st.sampled_from([None, 1, 2]))
def test_malformed_text(tmp_path_factory, content, dimension):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content)
    is_sound(lambda **more: read_glove(path, dimension=dimension, **more))
    is_sound(lambda **more: read_word2vec(path, **more))
    path.write_bytes(b"3 2\n" + content)
    is_sound(lambda **more: read_word2vec(path, **more))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_malformed_binary(tmp_path_factory, data):
    """A good file with bytes cut out, put in and changed, and noise behind a header."""
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    content = bytearray(as_binary(ONE_PART[:5], table(5, 4)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at:at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path.write_bytes(content)
    is_sound(lambda **more: read_word2vec(path, binary=True, **more))
    count, dimension = data.draw(st.integers(0, 10**9)), data.draw(st.integers(1, 20))
    path.write_bytes(b"%d %d\n" % (count, dimension) + data.draw(st.binary(max_size=200)))
    is_sound(lambda **more: read_word2vec(path, binary=True, **more))


@settings(max_examples=100, deadline=None)
@given(st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\r\x0b\x0c"),
                      min_size=1, max_size=8),
              st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)),
    min_size=1, max_size=30, unique_by=lambda e: e[0]))
def test_any_words_and_numbers_survive_every_format(tmp_path_factory, entries):
    path, words = tmp_path_factory.getbasetemp() / "survives", [w for w, _ in entries]
    vectors = np.array([v for _, v in entries], np.float32)
    for content, read in ((as_text(words, vectors), read_glove),
                          (header(words, vectors) + as_text(words, vectors), read_word2vec),
                          (as_binary(words, vectors), lambda p, **o: read_word2vec(p, binary=True, **o))):
        path.write_bytes(content)
        got = read(path, strict=True)
        assert got.words == words and np.array_equal(got.vectors, vectors)


# ---- what one does with them

def test_nearest_is_the_largest_cosine():
    vectors = pyops.text.WordVectors(list("abcd"), np.float32([[1, 0], [5, 1], [-1, 0], [0, 0]]),
                                     {w: i for i, w in enumerate("abcd")})
    assert [w for w, _ in vectors.nearest("a")] == ["b", "c"]
    assert vectors.nearest(np.array([3.0, 0.0]), 1) == [("a", 1.0)]
    with pytest.raises(ValueError, match="shape"):
        vectors.nearest(np.zeros(3))
    with pytest.raises(KeyError, match="e"):
        vectors.nearest("e")


def test_a_table_for_ones_own_words(file):
    vectors = read_glove(file(as_text(WORDS, table())))
    got = vectors.table(["<pad>", "東京", "the", "nowhere"])
    assert np.array_equal(got,
                          np.stack([np.zeros(7), table()[3], table()[0], np.zeros(7)]).astype(np.float32))
    drawn = vectors.table(["?"] * 500, np.random.default_rng(0))
    assert (np.allclose(drawn.mean(0), vectors.vectors.mean(0), atol=0.2)
            and np.allclose(drawn.std(0), vectors.vectors.std(0), rtol=0.2))


def test_embedding_from_pretrained_as_torch():
    torch = pytest.importorskip("torch")
    x, index, g = table(9, 5), np.array([[1, 8, 2], [0, 2, 2]]), table(6, 5).reshape(2, 3, 5)
    for options in ({}, {"freeze": False}, {"freeze": False, "padding_idx": -7},
                    {"freeze": False, "scale_grad_by_freq": True},
                    {"freeze": False, "max_norm": 1.0, "norm_type": 1.0}):
        ours = nn.Embedding.from_pretrained(x.copy(), **options)
        theirs = torch.nn.Embedding.from_pretrained(torch.from_numpy(x.copy()), **options)
        y, want = ours(index), theirs(torch.from_numpy(index))
        np.testing.assert_allclose(y.data, want.detach().numpy(), rtol=1e-6)
        np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-6)
        assert (ours.weight.requires_grad == theirs.weight.requires_grad
                and (ours.num_embeddings, ours.embedding_dim) == (9, 5))
        assert ours.padding_idx == theirs.padding_idx and list(ours.state_dict()) == ["weight"]
        if ours.weight.requires_grad:
            y.backward(g), want.backward(torch.from_numpy(g))
            np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_embedding_from_pretrained_shares_and_refuses():
    x = table(4, 3)
    assert nn.Embedding.from_pretrained(x).weight.data is x
    frozen = x.copy()
    frozen.flags.writeable = False
    assert nn.Embedding.from_pretrained(frozen).weight.data.flags.writeable
    torch = pytest.importorskip("torch")
    assert np.array_equal(nn.Embedding.from_pretrained(torch.nn.Embedding(3, 2).weight).weight.data.shape,
                          (3, 2))
    for bad, error, match in ((np.zeros(3, np.float32), ValueError, r"\(rows, width\)"),
                              (np.zeros((3, 2), int), TypeError, "int64")):
        with pytest.raises(error, match=match):
            nn.Embedding.from_pretrained(bad)
    for options, match in (({"padding_idx": 4}, "padding_idx"), ({"sparse": True}, "sparse")):
        with pytest.raises(ValueError, match=match):
            nn.Embedding.from_pretrained(x, **options)


def test_a_word2vec_file_of_known_bytes(file):
    """Written by hand from the format's description, not by the helpers above."""
    path = file(b"2 2\nking " + struct.pack("<2f", 1.5, -2) + b"\nqueen "
                + b"\x00\x00\x80\x3e\x00\x00\x00\xc0" + b"\n")
    got = read_word2vec(path, binary=True, strict=True)
    assert got.words == ["king", "queen"] and np.array_equal(got.vectors, np.float32([[1.5, -2], [0.25, -2]]))
