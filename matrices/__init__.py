"""Matrices that are shipped, by name, and the schema of them all."""
