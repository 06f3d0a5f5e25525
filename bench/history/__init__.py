"""Past runs of one machine, and what changed between them."""
