"""The measured process: Python 3.10, numpy and one runtime."""
