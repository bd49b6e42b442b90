"""`python -m ferplus_keras`."""

from ferplus_keras.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
