"""Networks that read or write sequences."""
# ruff: noqa: F403
from .bert import *
from .captioner import *
from .char_rnn import *
from .distilbert import *
from .folder import *
from .gpt2 import *
from .gpt3 import *
from .gpt_neox import *
from .seq2seq import *
from .sequence_classifier import *
from .sequence_tagger import *
from .t5 import *
from .transformer import *
from .translator import *
