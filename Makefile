# make demo    install, draw a small data set, train and evaluate on it
# make quick   install, then lint and the tests that take seconds
# make test    install, then lint, tests and README: everything CI runs
PYTHON ?= python3
VENV ?= .venv
TENSORFLOW ?= tensorflow-cpu
BIN := $(VENV)/bin
# Tests of one file share what they build, so files are what the processes share out.
PARALLEL ?= --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo quick test lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/python -m ferplus_keras sample-data demo/data --overwrite
	$(BIN)/python train.py --config recipes/demo.yaml --overwrite
	$(BIN)/python test.py --checkpoint_path demo/checkpoints/demo

quick: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[$(TENSORFLOW)]'
	touch $@

# The oracle without its own dependencies: tf-keras would pull in a second, larger TensorFlow.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[$(TENSORFLOW),jax,sweep,dev]'
	$(BIN)/python -m pip install --quiet --no-deps keras-vggface==0.6 keras-applications==1.0.8 'tf-keras>=2.20,<2.22' six
	touch $@

clean:
	rm -rf demo build ferplus_keras.egg-info .pytest_cache .ruff_cache
