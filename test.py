"""Evaluate a checkpoint; `python test.py --help` lists the settings."""

from ferplus_keras.cli import evaluate_command

if __name__ == "__main__":
    raise SystemExit(evaluate_command())
