"""Say what faces express; `python predict.py --help` lists the settings."""

from ferplus_keras.cli import predict_command

if __name__ == "__main__":
    raise SystemExit(predict_command())
