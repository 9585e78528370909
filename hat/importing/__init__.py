"""Reading what the authors' program wrote, without running anything a file contains."""
