# Every target works first thing after a clone: it makes its own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo lab widget test check clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lab,redis,test]'
	@touch $@

demo: $(STAMP)  ## MODEL=mlx-community/... runs a real checkpoint instead
	$(BIN)/visioncache demo

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

widget:  ## after a change of visioncache/jupyter/static/src
	$(PYTHON) tools/build_widget.py

test: $(STAMP)
	@$(BIN)/python tools/system_packages.py
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) out
