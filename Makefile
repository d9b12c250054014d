# The verbs. `make` alone lists them. PYTHON=/path/to/python3 chooses the interpreter of .venv.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
KERNELS := $(wildcard tinytorch/_ext/*.pyx tinytorch/_ext/*.pxi tinytorch/_ext/*.h)
PROXY := $(if $(wildcard deploy/hub/package-lock.json),deploy/hub/node_modules/.package-lock.json)
MATHJAX := book/_vendor/node_modules/.package-lock.json
REVEAL := book/slides/node_modules/.package-lock.json
TEX := 'xelatex=texlive-xetex texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern fonts-inter' rsvg-convert=librsvg2-bin
PIP := umask 022; $(BIN)/pip install --no-input --disable-pip-version-check --progress-bar off

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup test-system kits kits-system demo test test-fast sanitize lint build book book-next slides bench hub clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install the course in it; again whenever its requirements change
	@deploy/setup/system bwrap=bubblewrap

demo: setup ## a class of simulated students, from release to report
	@$(BIN)/mlsys demo

test: setup test-system $(MATHJAX) $(REVEAL) $(if $(CI),$(VENV)/.torch) $(if $(CI)$(KITS_REQUIRE),kits-system) lint ## everything that CI runs
	@echo "test: notebooks are what modules/ builds"
	@$(BIN)/mlsys build --check
	@echo "test: pytest, all of it, two processes"
	@$(BIN)/pytest -n 2 --dist loadfile

test-fast: setup lint ## the inner loop: no slow and no browser tests
	@echo "test: pytest, without slow and browser tests"
	@$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not browser"

sanitize: $(STAMP) ## the kernels' tests on kernels compiled under AddressSanitizer
	@deploy/setup/sanitize $(BIN)/python

lint: $(STAMP) ## ruff
	@echo "lint: ruff"
	@$(BIN)/ruff check --quiet .

build: $(STAMP) ## notebooks in source/ and exported modules, from modules/
	@$(BIN)/mlsys build

book: $(STAMP) $(MATHJAX) ## the book as a site in build/book, with its translations; OPTIONS="--pdf --epub --student --serve" for more
	@$(BIN)/mlsys book --language all $(OPTIONS)

book-next: book .venv-next/.setup ## the same sources with plain Sphinx 9, which shows that their markup is portable
	@.venv-next/bin/python -m sphinx -q -W --keep-going -c book/_next -d build/book-next/doctrees book build/book-next/html
	@echo "book-next: $$(.venv-next/bin/python -m sphinx --version) wrote build/book-next/html"

slides: $(STAMP) $(REVEAL) ## slides in build/slides, PDF, HTML and PPTX; CH="V1-13 V1-08" THEME=crimson|midnight|minimal|nature|all
	@deploy/setup/system $(TEX)
	@$(BIN)/mlsys slides $(CH) $(if $(THEME),--theme $(THEME)) $(OPTIONS)

bench: $(VENV)/.bench $(VENV)/.torch ## every benchmark; results go to benchmarks/*.md
	@set -e; for script in $(wildcard benchmarks/*.py); do echo "bench: $$script"; \
	  env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python "$$script"; done

hub: setup $(PROXY) ## a JupyterHub for the class in CLASS=folder; without it, for a small class to try it with
	@$(BIN)/mlsys hub $(if $(CLASS),"$(CLASS)",--try)

kits: setup kits-system ## compilers and emulators of the hardware kits
	@$(BIN)/boardkit doctor

clean: ## remove what was built and cached; .venv, class folders and grades stay
	@rm -rf build dist *.egg-info tinytorch/_ext/*.so .pytest_cache .ruff_cache .hypothesis test-artefacts $(STAMP)
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(STAMP): setup.cfg setup.py pyproject.toml $(KERNELS)
	@deploy/setup/environment "$(PYTHON)"
	@echo "setup: the course and what it needs (minutes the first time)"
	@$(PIP) --editable '.[book,hub,kits,slides,test]' >$(VENV)/setup.log 2>&1 || { tail -n 20 $(VENV)/setup.log; exit 1; }
	@$(BIN)/jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements" 2>/dev/null
	@echo "setup: tinytorch $$($(BIN)/python -m tinytorch.backend)"
	@touch $@

$(VENV)/.bench: $(STAMP)
	@echo "setup: what the benchmarks need"
	@$(PIP) --editable '.[bench]' >$(VENV)/setup.log 2>&1 || { tail -n 20 $(VENV)/setup.log; exit 1; }
	@touch $@

$(VENV)/.torch: $(STAMP)
	@echo "setup: PyTorch, to compare TinyTorch with"
	@$(PIP) --editable '.[torch]' >$(VENV)/setup.log 2>&1 || { tail -n 20 $(VENV)/setup.log; exit 1; }
	@touch $@

.venv-next/.setup: book/_next/requirements.txt | $(STAMP)
	@echo "setup: Sphinx 9 in .venv-next"
	@$(BIN)/python -m venv --clear .venv-next
	@umask 022; .venv-next/bin/pip install --no-input --disable-pip-version-check -q -r $< >.venv-next/setup.log 2>&1 || { tail -n 20 .venv-next/setup.log; exit 1; }
	@touch $@

$(MATHJAX): book/_vendor/package-lock.json
	@REQUIRED=1 deploy/setup/system node=nodejs npm=npm
	@echo "setup: what the pages of the book load, and what bundles and checks it, from npm"
	@cd book/_vendor && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json

$(REVEAL): book/slides/package-lock.json
	@REQUIRED=1 deploy/setup/system node=nodejs npm=npm
	@echo "setup: reveal.js for the slides, from npm"
	@cd book/slides && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json

test-system: $(PROXY)
	@deploy/setup/system 'chromium=chromium fonts-dejavu-core' java=default-jre-headless $(TEX)

kits-system:
	@REQUIRED=$(KITS_REQUIRE) deploy/setup/system 'arduino-builder=arduino-builder arduino-core-avr gcc-avr avr-libc' \
	  'simavr=simavr libsimavr-dev libelf-dev gcc libc6-dev' 'arm-none-eabi-gcc=gcc-arm-none-eabi libnewlib-arm-none-eabi' \
	  qemu-system-arm=qemu-system-arm qemu-aarch64=qemu-user 'aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu libc6-dev-arm64-cross'

deploy/hub/node_modules/.package-lock.json: deploy/hub/package-lock.json
	@deploy/setup/system node=nodejs npm=npm
	@echo "setup: the hub's proxy, from npm"
	@if command -v npm >/dev/null; then cd deploy/hub && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json; fi
