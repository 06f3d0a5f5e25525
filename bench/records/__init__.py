"""What programs and reports read: runs, verdicts, trends, comparisons."""
