"""The same as `python -m ferplus_keras train`."""

import sys

from ferplus_keras.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
