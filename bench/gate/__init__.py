"""Two sides in live pairs, and a verdict on every cell."""
