"""Networks that read or write sequences."""
# ruff: noqa: F403
from .captioner import *
from .char_rnn import *
from .folder import *
from .gpt2 import *
from .seq2seq import *
from .sequence_classifier import *
from .sequence_tagger import *
from .transformer import *
