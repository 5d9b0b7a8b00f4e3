"""`python -m mistudio_local up`: see `mistudio_local.cli`."""

import sys

from mistudio_local.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
