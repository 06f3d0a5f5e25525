"""``python -m deploymark``: the console script, where the folder of scripts is not on the path."""

from deploymark.bench.cli.main import main

if __name__ == "__main__":
    main()
