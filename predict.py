"""The same as `python -m ferplus_keras predict`."""

import sys

from ferplus_keras.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
