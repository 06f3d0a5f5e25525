"""A plan carried out: launches in rounds, and the run directory."""
