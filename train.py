"""Fine-tune a network; `python train.py --help` lists the settings."""

from ferplus_keras.cli import train_command

if __name__ == "__main__":
    raise SystemExit(train_command())
