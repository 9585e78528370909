"""hat: find, train and ship the best Transformer that runs within N milliseconds on your device."""

__version__ = "0.1.0"
