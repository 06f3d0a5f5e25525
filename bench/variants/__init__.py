"""Recipes: what is done to a trained detector before it is exported."""
