"""Where the `loanloop` command begins, also as `python -m loanloop`.

The rest takes a second to import, more on a slow machine: Ctrl-C meanwhile ends the command as silently as later on.
Whatever is imported here at the top, Ctrl-C during it is a traceback.
"""

import sys


def main() -> None:
    try:
        from loanloop.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
