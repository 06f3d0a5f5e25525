"""Exporters and runtimes, one module each; they know nothing of ``bench``."""
