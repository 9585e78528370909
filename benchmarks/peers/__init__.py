"""The programs that are compared, one file each; a file has a function for each kind of case that it can do."""

PEERS = {
    "hat": "hat",
    "plain": "plain",
    "CTranslate2": "ct2",
    "transformers": "marian",
    "fairseq": "fairseq_peer",
    "JoeyNMT": "joey",
    "limit": "limit",
}
"""The file of each."""

PACKAGES = {
    "CTranslate2": ("ctranslate2", "pip install ctranslate2==4.8.5"),
    "transformers": ("transformers", "pip install transformers==5.24.0"),
    "fairseq": (
        "fairseq",
        "needs Python 3.10 and pip below 24.1, so a virtual environment of its own: pip install torch fairseq==0.12.2 "
        "'numpy<1.24' pydantic pyyaml safetensors; then --python fairseq=ITS/bin/python",
    ),
    "JoeyNMT": (
        "joeynmt",
        "pip install joeynmt==2.3.0 importlib_metadata, in a virtual environment of its own, for it needs protobuf 3; "
        "then --python JoeyNMT=ITS/bin/python",
    ),
}
"""What must be importable for it, and how to install it."""
