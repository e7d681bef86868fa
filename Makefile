# Every target works first thing after a clone: it makes its own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo lab test drift check clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lab,redis,test]'
	@touch $@

demo: $(STAMP)  ## MODEL=mlx-community/... runs a real checkpoint instead
	$(BIN)/visioncache demo

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks

test: $(STAMP)
	@$(BIN)/python tools/system_packages.py
	$(BIN)/python -m pytest

drift: $(STAMP)  ## simulated next versions of mlx-vlm, then the newest mlx-vlm and mlx, pinned or not
	VISIONCACHE_DRIFT=1 $(BIN)/python -m pytest tests/vlm/test_drift.py
	$(BIN)/python tools/prove_versions.py --newest

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) out
