# virnucpro: `make demo` installs and runs the examples, `make test` installs and tests. `make help` lists the rest.

PYTHON      ?= python3
# Exact versions for Python 3.11. On another Python: make CONSTRAINTS= demo
CONSTRAINTS ?= constraints.txt
# More options for pytest, e.g. make test PYTEST_ARGS="-k packing"
PYTEST_ARGS ?=
# Processes that run the tests, each some of the files
TEST_WORKERS ?= 2
# Where `make lock` finds torch without CUDA: PyTorch's own index, or e.g. LOCK_TORCH="--find-links DIR"
LOCK_TORCH  ?= --torch-backend cpu

VENV        := .venv
BIN         := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(addprefix -c ,$(CONSTRAINTS))

# Stamps: a finished step leaves an empty file, so that it is repeated only when what it depends on has changed.
VENV_STAMP  := $(VENV)/.stamp-venv
RUN_STAMP   := $(VENV)/.stamp-install
DEV_STAMP   := $(VENV)/.stamp-install-dev
TOOLS       := $(VENV)/tools
TOOLS_STAMP := $(VENV)/.stamp-tools
INTEGRATIONS       := $(VENV)/integrations
INTEGRATIONS_STAMP := $(VENV)/.stamp-integrations
BUILD_LOCK  := integrations/container/build.lock
GPU_LOCK    := integrations/container/gpu.lock
LOCK        := $(TOOLS)/bin/uv pip compile -c constraints.txt --generate-hashes --no-header --quiet \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
INSTALL_DEPS := $(VENV_STAMP) pyproject.toml $(CONSTRAINTS)

EXAMPLES    := examples/lambda.fa examples/ecoli.fa.gz examples/reads.fastq.gz
DEMO_DIR    := demo-output

.DEFAULT_GOAL := help
.PHONY: help env install dev demo test check check-integrations format docs build release-check bench model plot lock audit clean distclean

help:
	@echo "make env        create $(VENV) and install virnucpro with its development tools"
	@echo "make install    create $(VENV) and install virnucpro alone"
	@echo "make demo       install, classify the records in examples/, print a summary"
	@echo "make test       install, run the tests, print the slowest; .ci/run does make check and this"
	@echo "make check      format check, lint and strict types"
	@echo "make check-integrations  install what checks integrations/ (planemo, snakemake, ...: 2 GB) and run it all"
	@echo "make format     rewrite the sources in the project's format"
	@echo "make docs       build the documentation into site/; open site/index.html"
	@echo "make build      make sdist and wheel in dist/, install the wheel in an empty environment and run it"
	@echo "make release-check  say what keeps this commit from being released: TAG=v1.2.3; docs/releasing.md"
	@echo "make bench      run the benchmarks that need no data and no GPU, benchmarks/bench_*.py; benchmarks/README.md lists all"
	@echo "make model      train and calibrate the bundled model anew: DATA=labelled genomes, EXTRA=more of them, VECTORS, OUT=new directory"
	@echo "make plot       rebuild the plotting library of report.html, as tools/plot/package-lock.json says (needs npm)"
	@echo "make lock       make requirements.lock and the locks in integrations/container anew from pyproject.toml and constraints.txt"
	@echo "make audit      look up known vulnerabilities of what is in the locks (needs a network)"
	@echo "make clean      remove outputs and caches;  make distclean removes $(VENV) too"

$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "virnucpro needs Python 3.10 or later; choose one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e .
	@touch $@

$(DEV_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e ".[dev]"
	@touch $(RUN_STAMP) $@

# In an environment of their own, so that what they need does not mix with what is tested.
$(TOOLS_STAMP): $(VENV_STAMP)
	$(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check --quiet build uv pip-audit
	@touch $@

# npm-groovy-lint is taken for the Groovy in it.
$(INTEGRATIONS_STAMP): $(VENV_STAMP) integrations/tools.txt
	$(BIN)/python -m venv $(INTEGRATIONS)
	$(INTEGRATIONS)/bin/python -m pip install --disable-pip-version-check --quiet -r integrations/tools.txt
	cd $(INTEGRATIONS) && bin/npm pack --silent npm-groovy-lint@18.0.0 && tar -xzf npm-groovy-lint-18.0.0.tgz
	@touch $@

env: dev
dev: $(DEV_STAMP)
install: $(RUN_STAMP)

demo: $(RUN_STAMP)
	@rm -rf $(DEMO_DIR)
	$(BIN)/virnucpro predict $(EXAMPLES) -o $(DEMO_DIR)
	@echo
	@$(BIN)/python examples/demo.py $(DEMO_DIR)
	@echo
	@echo "Open $(DEMO_DIR)/report.html in a browser. The command is $(BIN)/virnucpro; source $(BIN)/activate to type it short."

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict -p virnucpro

check-integrations: $(DEV_STAMP) $(INTEGRATIONS_STAMP)
	VIRNUCPRO_TOOLS=$(abspath $(INTEGRATIONS)) MULTIQC=$(abspath $(INTEGRATIONS))/bin/multiqc \
		$(BIN)/python -m pytest tests/pipelines tests/integration/test_multiqc.py $(PYTEST_ARGS)

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DEV_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir site

# The wheel is made of what the sdist holds.
build: $(TOOLS_STAMP)
	rm -rf dist
	$(TOOLS)/bin/python -m build --outdir dist
	$(BIN)/python tests/release/try_wheel.py dist $(addprefix -c ,$(CONSTRAINTS))

# Before a tag: make release-check TAG=v1.2.3
release-check:
	@$(PYTHON) tests/release/check_release.py "$(TAG)"

bench: $(DEV_STAMP)
	@mkdir -p benchmarks/results
	@set -e; for script in $(sort $(wildcard benchmarks/bench_*.py)); do \
		echo "== $$script"; $(BIN)/python "$$script"; done

# The bundled model anew, from labelled genomes: make model DATA=DIRECTORY EXTRA=DIRECTORY VECTORS=FASTA OUT=NEW_DIRECTORY
# VECTORS were those of UniVec_Core in Debian's package ncbi-data, without viruses and vectors made of them.
TRAIN := docs/training
model: $(DEV_STAMP)
	$(BIN)/virnucpro train $(TRAIN)/1-two-classes.toml --data "$(DATA)" -o "$(OUT)/first"
	$(BIN)/virnucpro train $(TRAIN)/2-host-classes.toml --data "$(DATA)" --extra "$(EXTRA)" --init "$(OUT)/first" -o "$(OUT)/second"
	$(BIN)/virnucpro train $(TRAIN)/3-more-genomes.toml --data "$(DATA)" --extra "$(EXTRA)" --init "$(OUT)/second" -o "$(OUT)/third"
	$(BIN)/python $(TRAIN)/average.py "$(OUT)/second" "$(OUT)/third" "$(OUT)/mean"
	$(BIN)/virnucpro kmers "$(OUT)/mean" --data "$(DATA)" --extra "$(EXTRA)" --neither "$(VECTORS)" -o "$(OUT)/filtered"
	$(BIN)/virnucpro calibrate "$(OUT)/filtered" --data "$(DATA)" --windows 500 -o "$(OUT)/model"

plot:
	cd tools/plot && npm ci --no-audit --no-fund && npm run build

# The comments at the top of the locks stay; torch is named by the version that all its builds share.
lock: $(TOOLS_STAMP)
	$(LOCK) pyproject.toml $(LOCK_TORCH) -o $(TOOLS)/packages > /dev/null
	@grep '^#' requirements.lock > $(TOOLS)/header
	@sed '/^torch==/s/+cpu//' $(TOOLS)/packages | cat $(TOOLS)/header - > requirements.lock
	$(LOCK) pyproject.toml -o $(TOOLS)/packages > /dev/null
	@head -n 2 $(GPU_LOCK) | cat - $(TOOLS)/packages > $(TOOLS)/gpu && mv $(TOOLS)/gpu $(GPU_LOCK)
	sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(LOCK) - -o $(TOOLS)/packages > /dev/null
	@head -n 1 $(BUILD_LOCK) | cat - $(TOOLS)/packages > $(TOOLS)/build && mv $(TOOLS)/build $(BUILD_LOCK)

# Strict: a package that cannot be looked up is a failure, not a pass.
audit: $(TOOLS_STAMP)
	$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements.lock \
		-r $(BUILD_LOCK) -r $(GPU_LOCK)

clean:
	rm -rf $(DEMO_DIR) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find virnucpro tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
