# Needs Python 3.11 or newer, git and make. Everything is installed into .venv, by hash.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help demo test lint soak bench pictures image lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/  make \1\t/p' Makefile

demo: $(VENV)/run-installed  ## run an example and look at it: no key, no service
	@$(BIN)/signalbox run --local examples/demo/pipeline.yml
	@echo
	@$(BIN)/signalbox show latest
	@echo
	@echo "Look further:"
	@echo "  examples/demo/pipeline.yml           what has just run"
	@echo "  $(BIN)/signalbox logs latest      what its jobs printed"
	@echo "  $(BIN)/signalbox list             all executions in this directory's journal"
	@echo "  $(BIN)/signalbox --help           everything else"

test: $(VENV)/test-installed  ## lint, types and all tests; CI=true starts a Docker engine, too
	@$(BIN)/python -m tests.container.engine & engine=$$!; \
	$(MAKE) --no-print-directory lint; linted=$$?; \
	wait $$engine && test $$linted -eq 0
	@mkdir -p build; echo "Two more processes test beside this one; what they print comes last."; \
	$(BIN)/python -m pytest -m engine > build/engine.txt 2>&1 & engine=$$!; \
	$(BIN)/python -m pytest -m "not engine" --share 2/2 > build/second.txt 2>&1 & second=$$!; \
	$(BIN)/python -m pytest -m "not engine" --share 1/2; tested=$$?; \
	wait $$second || tested=$$?; \
	wait $$engine; ended=$$?; cat build/second.txt build/engine.txt; \
	test $$tested -eq 0 && { test $$ended -eq 0 || test $$ended -eq 5; }  # 5: none was wanted

lint: $(VENV)/test-installed  ## formatting, lint and types: our own pipeline, through Signalbox
	$(BIN)/signalbox run --local --job lint --job types pipeline.yml

soak: $(VENV)/test-installed  ## kill runs at random moments; SECONDS=36000 goes on for ten hours
	SIGNALBOX_SOAK=$(or $(SECONDS),3600) $(BIN)/python -m pytest tests/test_kill.py

bench: $(VENV)/test-installed  ## the figures, against their limits
	$(BIN)/python -m bench

pictures: $(VENV)/test-installed  ## the README's pictures, from real runs; needs Chromium and tmux
	for of in terminal report pages; do $(BIN)/python -m tests.pictures.$$of docs || exit 1; done

image:  ## the container image, as signalbox:dev; IMAGE_FLAGS="--build-arg BASE_IMAGE=..."
	docker build --tag signalbox:dev $(IMAGE_FLAGS) .

lock: $(VENV)/tools/bin/uv  ## resolve the requirements anew, hashes and all
	$(LOCK) pyproject.toml --extra viewer --output-file requirements/run.txt
	$(LOCK) requirements/test.in --output-file requirements/test.txt
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(LOCK) - --output-file requirements/build.txt

LOCK := $(VENV)/tools/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command "make lock"

clean:  ## remove what make and the tests made
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist build
	find runner tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit("Signalbox needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The tree itself is put on the path, and the command beside Python: what hatchling's editable
# install does, without hatchling.
$(VENV)/run-installed: requirements/run.txt $(VENV)/created
	$(INSTALL) -r $<
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "signalbox.pth").write_text("$(CURDIR)\n")'
	@printf '%s\n' '#!$(CURDIR)/$(BIN)/python' 'from runner.cli import main' 'main()' > $(BIN)/signalbox
	@chmod 755 $(BIN)/signalbox
	@touch $@

$(VENV)/test-installed: requirements/test.txt $(VENV)/run-installed
	$(INSTALL) -r $<
	@touch $@

$(VENV)/tools/bin/uv: | $(VENV)/created
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/python -m pip install --quiet --disable-pip-version-check uv
