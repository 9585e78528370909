"""One function per command, readable top to bottom; the only place where the stages meet."""
