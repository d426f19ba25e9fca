"""Text for networks: readers of word vectors, characters as numbers, and a text that every Python carries.

    vectors = pyops.text.read_glove("glove.6B.100d.txt", limit=50_000)
    embedding = pyops.nn.Embedding.from_pretrained(vectors.vectors)
"""
from .glove import read_glove
from .word2vec import read_word2vec
from .word_vectors import Skipped, WordVectors

__all__ = ["Skipped", "WordVectors", "read_glove", "read_word2vec"]
