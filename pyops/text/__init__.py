"""Text for networks: readers of word vectors, characters as numbers, sampling, a text that every
Python carries, and numbers and dates in words.

    vectors = pyops.text.read_glove("glove.6B.100d.txt", limit=50_000)
    embedding = pyops.nn.Embedding.from_pretrained(vectors.vectors)
"""
from .characters import Characters
from .corruption import corrupt_spans, mask_words
from .glove import read_glove
from .sampling import draw
from .spelled import spelled_date, spelled_number
from .standard_library import standard_library
from .word2vec import read_word2vec
from .word_vectors import Skipped, WordVectors

__all__ = ["Characters", "Skipped", "WordVectors", "corrupt_spans", "draw", "mask_words", "read_glove",
           "read_word2vec", "spelled_date", "spelled_number", "standard_library"]
