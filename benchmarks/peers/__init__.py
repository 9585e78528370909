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
    "fairseq": ("fairseq", "pip install fairseq==0.12.2, in an environment of its own (docs/performance.md)"),
    "JoeyNMT": ("joeynmt", "pip install joeynmt==2.3.0, in an environment of its own (docs/performance.md)"),
}
"""What must be importable for it, and how to install it."""
