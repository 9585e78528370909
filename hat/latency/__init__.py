"""How long one translation takes: measuring it, the data sets, and predicting it."""
