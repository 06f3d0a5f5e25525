"""Several runs on one page: machines as columns, each with its own answer."""
