import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from ferplus_keras import extras
from ferplus_keras.backend import choose_backend
from ferplus_keras.errors import InputError


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment,
    )


def test_the_last_words_of_a_native_crash_are_not_lost():
    """As when a backend aborts while it loads: only the known notices are left out."""
    done = run(
        "import os\n"
        "from ferplus_keras.backend import leaving_out\n"
        "with leaving_out(b'known notice'):\n"
        "    os.write(2, b'a known notice\\nout of memory, giving up\\n')\n"
        "    os.abort()\n"
    )
    assert done.returncode < 0
    assert done.stderr == "out of memory, giving up\n"


def test_what_is_said_after_the_block_goes_where_it_always_went():
    done = run(
        "import sys\n"
        "from ferplus_keras.backend import leaving_out\n"
        "with leaving_out(b'noise'):\n"
        "    print('noise', file=sys.stderr)\n"
        "    print('within', file=sys.stderr)\n"
        "print('noise after', file=sys.stderr)\n"
    )
    assert done.stderr == "within\nnoise after\n"


def test_the_configured_backend_counts_if_it_is_installed(tmp_path):
    code = (
        "from ferplus_keras.backend import choose_backend; choose_backend()\n"
        "import os; print(os.environ['KERAS_BACKEND'])"
    )
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    assert run(code, KERAS_HOME=str(tmp_path)).stdout == "jax\n"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "openvino"}))
    assert run(code, KERAS_HOME=str(tmp_path)).stdout == "tensorflow\n"


def test_keras_imported_after_the_package_takes_an_installed_backend(tmp_path):
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import ferplus_keras, keras; print(keras.backend.backend())"
    )
    assert run(code, KERAS_HOME=str(tmp_path)).stdout == "jax\n"


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_configuration_counts_as_none(text, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(text)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    choose_backend()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize("wanted", [None, "false"])
def test_tensorflow_takes_a_gpus_memory_as_needed_unless_told_otherwise(wanted, monkeypatch):
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", wanted or "")
    if wanted is None:
        monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
    choose_backend()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == (wanted or "true")


def test_what_is_missing_for_keras_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(extras, "find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"this command needs keras, .*keras\[tensorflow\]"):
            choose_backend()
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="Keras needs TensorFlow, JAX or Torch; run: pip"):
        choose_backend()


def test_an_import_that_failed_is_explained_if_an_extra_brings_the_module():
    said = extras.not_installed(ModuleNotFoundError(name="sklearn.metrics"))
    assert "needs sklearn, which is not installed: pip install 'ferplus-keras[evaluation]'" in said
    assert extras.not_installed(ModuleNotFoundError(name="ferplus_keras.typo")) is None
    assert extras.not_installed(ModuleNotFoundError("no name")) is None


def test_a_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "mxnet")
    with pytest.raises(
        InputError,
        match="KERAS_BACKEND=mxnet: expected one of tensorflow, jax, torch that is installed",
    ):
        choose_backend()


def test_what_deepface_asks_for_does_not_reach_keras_3():
    code = (
        "from ferplus_keras.backend import choose_backend; choose_backend(num_gpus=0)\n"
        "import os; print('TF_USE_LEGACY_KERAS' in os.environ, os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    assert run(code, TF_USE_LEGACY_KERAS="1").stdout == "False -1\n"


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_python_hides_gpus_as_the_command_line_does(verb):
    config = {"train": "TrainConfig", "evaluate": "EvaluateConfig"}[verb]
    code = (
        f"import os, ferplus_keras, ferplus_keras.config as settings\n"
        f"config = settings.{config}(num_gpus=0, data_dir='nowhere', name='none')\n"
        f"try: ferplus_keras.{verb}(config)\n"
        "except ferplus_keras.errors.InputError: print(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    assert run(code, CUDA_VISIBLE_DEVICES="0").stdout == "-1\n"


@pytest.mark.parametrize(
    ("version", "flags", "expected"),
    [
        ("0.11.2", None, "--xla_cpu_experimental_ynn_fusion_type="),
        ("0.11.0", "--xla_a=1", "--xla_a=1 --xla_cpu_experimental_ynn_fusion_type="),
        ("0.11.2", "--xla_cpu_experimental_ynn_fusion_type=X", None),
        ("0.10.2", None, None),
        ("0.12.0", "--xla_a=1", None),
    ],
)
def test_jax_0_11_is_kept_off_its_broken_fusions(monkeypatch, version, flags, expected):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(importlib.metadata, "version", lambda package: version)
    monkeypatch.setenv("XLA_FLAGS", flags or "")
    choose_backend()
    assert os.environ["XLA_FLAGS"] == (flags or "" if expected is None else expected)


def test_blocks_of_two_threads_do_not_wait_for_each_other():
    """Restored crosswise, one would wait for a reader of what is the process's standard error."""
    done = run(
        "import threading\n"
        "from ferplus_keras.backend import leaving_out\n"
        "within, first_is_over = threading.Event(), threading.Event()\n"
        "def first():\n"
        "    with leaving_out(b'noise'):\n"
        "        within.set()\n"
        "        first_is_over.wait(1)\n"
        "    first_is_over.set()\n"
        "def second():\n"
        "    within.wait()\n"
        "    with leaving_out(b'noise'):\n"
        "        first_is_over.wait(1)\n"
        "threads = [threading.Thread(target=each, daemon=True) for each in (first, second)]\n"
        "[each.start() for each in threads]\n"
        "[each.join(30) for each in threads]\n"
        "print([each.is_alive() for each in threads])\n"
    )
    assert done.stdout == "[False, False]\n"
