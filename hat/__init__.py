"""hat: find, train and ship the best Transformer that runs within N milliseconds on your device.

Names are imported when they are first used, so that what needs no torch, such as counting or preparing data, starts
without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hat.decoding.translator import Translator
    from hat.nn import SuperTransformer, Transformer
    from hat.space.architecture import Architecture
    from hat.space.search_space import SearchSpace

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "hat.space.architecture",
    "SearchSpace": "hat.space.search_space",
    "SuperTransformer": "hat.nn.transformer",
    "Transformer": "hat.nn.transformer",
    "Translator": "hat.decoding.translator",
}

__all__ = ["Architecture", "SearchSpace", "SuperTransformer", "Transformer", "Translator"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hat' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
