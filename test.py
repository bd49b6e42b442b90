"""The same as `python -m ferplus_keras test`."""

import sys

from ferplus_keras.cli import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
