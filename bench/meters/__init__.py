"""Meters of energy: the sensors of a machine, read in a process of their own beside the worker."""
