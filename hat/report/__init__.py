"""A report of run folders: tables, pictures and drawings, as one HTML page and as Markdown. No torch."""
