"""One training loop for the SuperTransformer and for a SubTransformer."""
