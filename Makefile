# make demo: a small SqueezeNet classifies handwritten digits on simulated RTL.
# make test: every test.
# make bench MODELS='A.onnx B.onnx' IMAGE=photo.jpg: share of peak of several cores and memories.
# Both install what they need into .venv, pinned by constraints.txt.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test bench lint clean

demo: $(VENV)/.demo
	$(RUN) examples/digits/demo.py

# in the order of the files: the longest test, a bitstream, is in one of the first
test: $(VENV)/.dev
	$(RUN) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder tests

bench: $(VENV)/.dev
	$(if $(and $(MODELS),$(IMAGE)),,$(error usage: make bench MODELS='A.onnx B.onnx' IMAGE=photo.jpg))
	$(RUN) -m sim.bench $(MODELS) --image $(IMAGE) --json bench.json

lint: $(VENV)/.dev
	$(RUN) -m ruff check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV)"
	$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV)"
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build *.egg-info
