"""``python -m aliascope`` is the command ``aliascope``."""

from aliascope.commands.main import main

if __name__ == "__main__":
    main()
