"""``python -m aliascope`` is the command ``aliascope``."""

from aliascope.cli import main

if __name__ == "__main__":
    main()
