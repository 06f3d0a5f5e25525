"""Artifacts and recipes, each made in a child, kept in the store."""
