# Every target works first thing after a clone: it makes its own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo lab widget fast test test-library equality check docs drift build clean

install: $(STAMP)

$(STAMP): pyproject.toml
	@echo "installing into $(VENV): about 2 GB, some minutes, and no output until it is done"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs,lab,redis,test]'
	@touch $@

demo: $(STAMP)  ## MODEL=mlx-community/... runs a real checkpoint instead
	$(BIN)/visioncache demo

lab: $(STAMP)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

widget:  ## after a change of visioncache/jupyter/static/src
	$(PYTHON) tools/build_widget.py

fast: $(STAMP)  ## what a developer runs after every change: no browser, no server, four families
	$(BIN)/python -m pytest -n 2 -q -m "not slow" tests/core tests/docs tests/packaging \
		tests/vlm/test_attach.py tests/vlm/families/test_families.py tests/vlm/request tests/jupyter/test_magics.py

test: $(STAMP)
	@$(BIN)/python tools/system_packages.py
	$(BIN)/python -m pytest -n auto --dist worksteal

test-library: $(STAMP)  ## what needs neither browser nor server
	$(BIN)/python -m pytest tests/core tests/vlm tests/study

equality: $(STAMP)  ## simulations against brute force, exact optima and libCacheSim: all that `test` samples
	VISIONCACHE_WHOLE=1 $(BIN)/python -m pytest --timeout 7200 tests/study/sim tests/study/trace

drift: $(STAMP)  ## simulated next versions of mlx-vlm, then the newest mlx-vlm and mlx, pinned or not
	VISIONCACHE_DRIFT=1 $(BIN)/python -m pytest -n auto tests/vlm/test_drift.py
	$(BIN)/python tools/prove_versions.py --newest

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)  ## the site, in out/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

build: $(STAMP)  ## the wheel and the sdist that a release uploads, in dist
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) out dist
