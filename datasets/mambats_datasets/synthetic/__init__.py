"""Series made from a seed: tests and first steps need no file."""
