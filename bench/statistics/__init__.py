"""Intervals, ratios, change points: numbers in, numbers out."""
