"""What the Transformers are taught here: to translate, to guess masked words, to continue a text,
to remember."""
