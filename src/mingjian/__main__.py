"""``python -m mingjian``: the same as the command ``mingjian``."""

from mingjian.cli.main import main

if __name__ == "__main__":
    main()
