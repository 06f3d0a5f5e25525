"""Bundles: the file that holds all that measuring takes, and what it says of itself."""
