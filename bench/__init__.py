"""The harness: from a matrix to measured figures and verdicts."""
