"""What may vary: search spaces, architectures, their encodings and their cost in closed form. No torch."""
