"""How fast hat is, beside programs that pip can install and beside what the machine can do: ``make bench``."""
