# `make` lists the commands. All of them set up .venv first, and skip that in a moment when it is current.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-real test sweep kills bounds compatibility benchmark docs lint format clean
export PYTHON

help:           ## list the commands
	@sed -n 's/^\([a-z-]*:\)[a-z ]*## /  make \1 /p' $(MAKEFILE_LIST)
	@echo 'PYTHON=/path/to/python3.12 chooses the Python (3.10 to 3.12), as in: make PYTHON=python3.12 test'

setup:          ## create or update .venv (6 to 22 minutes the first time, and 9 GB of disk)
	@command -v python3 >/dev/null || { echo 'error: there is no python3: install Python 3.10, 3.11 or 3.12.'; exit 1; }
	@python3 tools/bootstrap.py

demo: setup     ## train, evaluate and draw: the main job
	@.venv/bin/python tools/demo.py

demo-real: setup ## train and evaluate on aerial photographs, with a report of one page (5 minutes)
	@.venv/bin/python tools/make_tree_crowns.py
	@.venv/bin/python tools/evaluate_transfer.py configs/evaluation/tree_crowns.yaml

test: lint docs ## check the code, build the documentation and run all tests
	.venv/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal

sweep: setup    ## check timm's contract for all models and sizes, by timm's own tests too (about 40 minutes)
	.venv/bin/python -m pytest -m sweep
	.venv/bin/python tools/timm_tests.py --models '*' -q

kills: setup    ## kill trainings at random instants and compare the resumed ones with unbroken ones (40 minutes)
	.venv/bin/python tools/kill_sweep.py

bounds: setup   ## prove the lowest and the newest versions that setup.cfg admits (hours, and 12 GB of disk)
	.venv/bin/python tools/bounds.py lowest
	.venv/bin/python tools/bounds.py highest

compatibility: setup ## check what others' tools make of all families, and write docs/compatibility.md (30 minutes)
	.venv/bin/python tools/check_compatibility.py

benchmark: setup ## measure beside the competitors; fail where we became slower, or record a new machine (35 minutes, cores free)
	.venv/bin/python tools/benchmark.py --check

docs: setup     ## build the documentation site, work_dirs/docs/index.html; a broken link or name is an error
	.venv/bin/python -m sphinx -W --keep-going --quiet --jobs auto -d work_dirs/docs-cache docs work_dirs/docs

lint: setup     ## check style, imports and types
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/python -m mypy spectral_ops

format: setup   ## rewrite the code in the project's style
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

clean:          ## remove .venv and all caches; data and trained models stay
	rm -rf .venv .setup .pytest_cache .mypy_cache .ruff_cache .import_linter_cache work_dirs/docs work_dirs/docs-cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
