"""What a worker measures, one pass a module. Python 3.10 and numpy alone."""
