# Shortcuts for the usual commands; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CORES ?= all
DATA ?= data
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/installed
SNAKEMAKE := "$(BIN)/snakemake" --cores $(CORES)
export PATH := $(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help install run models demo smoke docs dist container test test-slow lint study-lung study-phantom study-strict study-condition study-defects study-fvd study-camus study-generators study-paper bench bench-gpu report ui clean

help: ## what each target does
	@echo "make TARGET [CORES=all] [DATA=data]"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(STAMP) ## .venv with exactly the packages of requirements.lock and this package

$(STAMP): requirements.lock pyproject.toml
	@echo "Installing requirements.lock into $(VENV) (minutes, once) ..."
	@python3 -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		|| { echo "error: python3 is $$(python3 --version)"; echo "Hint: put Python 3.11 or 3.12 first on PATH"; exit 1; }
	@python3 -m venv $(VENV)
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# $(call study,NAME,SNAKEMAKE ARGUMENTS): run a config and say what was made and where.
define study
	@mkdir -p build results && touch build/started
	@$(SNAKEMAKE) $(2)
	@if [ results/$(1)/summary.json -nt build/started ]; then echo "Made results/$(1)/:"; \
		else echo "Nothing to do, all is up to date in results/$(1)/:"; fi; \
		echo "  report.html (open it in a browser), tables/, figures/, summary.json"
endef

run: $(STAMP) ## the whole pipeline on the embedded phantom -> results/phantom/
	$(call study,phantom,)

models: $(STAMP) ## the model of the package, from `make run` -> lddm/models/breast-phantom/
	$(call study,phantom,)
	@"$(BIN)/lddm" models export results/phantom --name breast-phantom --out lddm/models

demo: $(STAMP) ## a local page that animates a still you drop on it
	@"$(BIN)/lddm" demo

smoke: $(STAMP) ## every rule of the workflow on tiny data, in minutes -> results/smoke/
	$(call study,smoke,--configfile config/smoke.yaml)

study-lung: $(STAMP) ## three folds of open lung ultrasound below DATA, hours -> results/lung_study/
	$(call study,lung_study,--configfile config/lung.yaml config/lung_study.yaml --config 'data_root="$(DATA)"')

study-phantom: $(STAMP) ## what synthetic videos add to 8, 16, 32, 64 real ones, five seeds -> results/phantom_sweep/
	$(call study,phantom_sweep,--configfile config/phantom_sweep.yaml)

study-strict: $(STAMP) ## the same, with 16 and 32 labelled videos for the generators too -> results/phantom_strict*/
	$(call study,phantom_strict,--configfile config/phantom_strict.yaml)
	$(call study,phantom_strict_32,--configfile config/phantom_strict.yaml config/phantom_strict_32.yaml)

study-condition: $(STAMP) ## labels, soft labels and measured attributes as the condition, 16 labels -> results/condition.md
	$(call study,phantom_strict,--configfile config/phantom_strict.yaml)
	$(call study,phantom_strict_soft,--configfile config/phantom_strict.yaml config/phantom_strict_soft.yaml)
	$(call study,phantom_strict_logit,--configfile config/phantom_strict.yaml config/phantom_strict_logit.yaml)
	$(call study,phantom_strict_strain_ratio,--configfile config/phantom_strict.yaml config/phantom_strict_strain_ratio.yaml)
	@"$(BIN)/python" -m benchmarks.condition results/phantom_strict results/phantom_strict_soft results/phantom_strict_logit \
		results/phantom_strict_strain_ratio --out results/condition.md

study-defects: $(STAMP) ## after `make run`: what each metric notices of damaged videos -> results/phantom/defects.csv
	@"$(BIN)/python" -m benchmarks.defects results/phantom

study-camus: $(STAMP) ## does synthetic motion carry a real diagnosis? DATA=folder of camus-pairs -> results/camus/
	@"$(BIN)/python" -m benchmarks.camus "$(DATA)/camus-pairs" --setting open
	@"$(BIN)/python" -m benchmarks.camus "$(DATA)/camus-pairs" --setting strict --labelled 16

study-fvd: $(STAMP) ## after `make run`, with I3D's weights: what FVD answers to, and its floor -> results/phantom/fvd.csv
	@"$(BIN)/python" -m benchmarks.fvd results/phantom

test: $(STAMP) ## the test suite -> build/tests.xml
	@mkdir -p build
	@"$(BIN)/python" -m pytest --quiet -n auto --maxprocesses 4 --dist loadfile -m "not cluster and not faults" --junitxml=build/tests.xml
	@echo "All tests passed: results of each in build/tests.xml"

# SLURM's tests wait more than they work, so the others run beside them.
test-slow: $(STAMP) ## whole runs: injected faults, conda, identifiers, a SLURM of its own (root) -> build/tests-*.xml
	@mkdir -p build
	@"$(BIN)/python" -m pytest --quiet -m cluster --junitxml=build/tests-cluster.xml > build/tests-cluster.log 2>&1 & \
		beside=$$!; failed=0; \
		"$(BIN)/python" -m pytest --quiet -m faults --junitxml=build/tests-faults.xml || failed=1; \
		wait $$beside || failed=1; cat build/tests-cluster.log; exit $$failed
	@echo "All slow tests passed or were skipped with a reason: build/tests-faults.xml, build/tests-cluster.xml"

lint: $(STAMP) ## style, spelling and types
	@"$(BIN)/ruff" check lddm tests benchmarks
	@"$(BIN)/ruff" format --check --quiet lddm tests benchmarks
	@"$(BIN)/snakefmt" --check Snakefile workflow
	@"$(BIN)/snakemake" --lint
	@"$(BIN)/codespell" lddm tests docs benchmarks workflow config Makefile Snakefile *.md
	@"$(BIN)/mypy"
	@echo "No errors of style, spelling or type"

# The site needs packages that nothing else does: they have a lock and an environment of their own. (--quiet would ignore `strict`.)
DOCS := build/docs-venv
docs: $(DOCS)/installed ## the documentation site, with all links checked -> build/site/index.html
	@NO_MKDOCS_2_WARNING=1 "$(DOCS)/bin/mkdocs" build > build/docs.log 2>&1 || { cat build/docs.log; exit 1; }
	@echo "Made build/site/index.html: open it in a browser"

$(DOCS)/installed: requirements-docs.lock
	@echo "Installing requirements-docs.lock into $(DOCS) (once) ..."
	@mkdir -p build && python3 -m venv $(DOCS)
	@"$(DOCS)/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-docs.lock
	@touch $@

dist: $(STAMP) ## an sdist and a wheel -> build/dist/
	@rm -rf build/lib build/bdist.* && mkdir -p build/dist
	@"$(BIN)/python" -c 'from setuptools import build_meta; build_meta.build_sdist("build/dist")' > build/sdist.log 2>&1 \
		|| { cat build/sdist.log; exit 1; }
	@"$(BIN)/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/dist .
	@ls -1 build/dist/*

container: ## an Apptainer image for `snakemake --sdm apptainer` -> build/lddm.sif
	@mkdir -p build
	@command -v apptainer > /dev/null || { echo "error: apptainer is not installed"; echo "Hint: or use Docker: docker build --tag lddm ."; exit 1; }
	@apptainer build build/lddm.sif lddm.def

bench: $(STAMP) ## our speed as ratios -> benchmarks/latest.json
	@"$(BIN)/python" -m benchmarks
	@echo "Made benchmarks/latest.json"

bench-gpu: $(STAMP) ## all speeds on a GPU in eight minutes, with roofline and peers -> benchmarks/gpu.json
	@"$(BIN)/python" -m benchmarks.gpu

study-generators: $(STAMP) ## after `make run`: generators with several seeds, controls, times -> results/phantom/study/
	@"$(BIN)/python" -m benchmarks.generators results/phantom

# CONFIG and OURS may name several files; OURS empty: our method with its defaults on the same data.
CONFIG ?= config/paper/phantom.yaml
OURS ?=
study-paper: $(STAMP) ## the paper's comparison in one table; CONFIG=... OURS=... DATA=... -> results/<experiment>/study/table.md
	@"$(BIN)/python" -m benchmarks.paper $(addprefix --config ,$(CONFIG)) $(addprefix --ours ,$(OURS)) \
		--data-root "$(DATA)" --cores $(CORES)

report: $(STAMP) ## Snakemake's own report of the last run -> build/snakemake-report.zip
	@mkdir -p build
	@[ -e results/phantom/summary.json ] || { echo "error: results/phantom is not finished"; echo "Hint: finish \`make run\` first"; exit 1; }
	@$(SNAKEMAKE) --report build/snakemake-report.zip
	@echo "Made build/snakemake-report.zip: unpack it and open report.html"

ui: $(STAMP) ## MLflow on the records of all runs, at http://127.0.0.1:5000
	@"$(BIN)/mlflow" ui --backend-store-uri sqlite:///results/mlflow.db --host 127.0.0.1 --port 5000

clean: ## remove all results, build/ and Snakemake's notes; keeps .venv and data
	@find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	@rm -rf build .snakemake benchmarks/latest.json benchmarks/gpu.json
	@echo "Removed results/*, build/ and .snakemake/"
