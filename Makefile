# Everything runs from a virtual environment in .venv, made on first use; nothing is installed outside this folder.
#
# Variables: BOARD (ia420f, ia840f, v80; test4, test8 are small ones for tests; or a board's file), PROFILE (aggressive,
# conservative; else the board's own), MODEL (a benchmark or example by name, or a file), STEPS, SEED, WAVES=1, PORT (of
# a board: /dev/ttyUSB0, or sim), WORKERS (parallel tests), PYTHON (of the virtual environment), SEEDS (of the placer,
# for scaling), CONTEXTS (of sim, demo: of every model, or one number for each, with commas; of explore: each number
# that is tried), SEED=N of fuzz (only that one).

PYTHON ?= python3
WORKERS ?= $(shell nproc)
BOARD ?= ia420f
PROFILE ?=
MODEL ?= lstm_tiny
STEPS ?=
SEED ?=
WAVES ?=
PORT ?= sim
SEEDS ?=
CONTEXTS ?=

# Whether the user set a variable, rather than this file.
given = $(filter-out file,$(origin $(1)))
profile = $(if $(PROFILE),--profile $(PROFILE))

BIN := .venv/bin
STAMP := .venv/installed

.DELETE_ON_ERROR:
.PHONY: help venv check verilog project bitstream sim demo report test fuzz windows gates mutate lint equivalence timing bench scaling explore docs clean

help: ## List the targets
	@echo "make TARGET [BOARD=$(BOARD)] [PROFILE=] [MODEL=$(MODEL)] [STEPS=] [SEED=] [WAVES=1]"
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10 | sed 's/^/  /'

venv: $(STAMP) ## Make the virtual environment .venv

$(STAMP): pyproject.toml
	@echo "installing into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[check,docs,ecp5,explore,host,report,sim,test]'
	@touch $@

verilog: $(STAMP) ## Write the Verilog of BOARD to build/verilog
	@$(BIN)/spiccato verilog --board $(BOARD) $(profile)

project: $(STAMP) ## Write a project of BOARD for its vendor's tool to build/project
	@$(BIN)/spiccato project --board $(BOARD) $(profile)

bitstream: $(STAMP) ## Build the bitstream of the ULX3S, or BOARD, with open tools to build/bitstream
	@$(BIN)/spiccato bitstream $(if $(call given,BOARD),--board $(BOARD)) $(profile)

sim: $(STAMP) ## Run MODEL (or several), with CONTEXTS, on the simulated hardware of BOARD and compare with all predictions
	@$(BIN)/spiccato sim $(MODEL) --board $(BOARD) $(profile) $(if $(CONTEXTS),--contexts $(CONTEXTS)) \
		$(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED)) $(if $(WAVES),--waves)

report: $(STAMP) ## Write a page on MODEL on BOARD to build/report.html
	@mkdir -p build
	@$(BIN)/spiccato report $(MODEL) --board $(BOARD) $(profile) -o build/report.html \
		$(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED))

demo: $(STAMP) ## Run the trained example, or MODEL, with CONTEXTS on the ULX3S, or BOARD, at serial port PORT (sim: simulate it)
	@$(BIN)/spiccato demo --port $(PORT) $(if $(call given,BOARD),--board $(BOARD)) $(profile) \
		$(if $(call given,MODEL),--model $(MODEL)) $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(CONTEXTS),--contexts $(CONTEXTS))

check: $(STAMP) ## Check format, lint, types and documentation, and run the fast tests (two minutes)
	@$(BIN)/ruff format --quiet --check
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory docs
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m 'fast and not long'

test: $(STAMP) ## Run all tests
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup --require-simulation

fuzz: $(STAMP) ## Compare random models and contexts on the RTL with all predictions (long; resumes), or only SEED's
	@$(BIN)/python -m spiccato_sim.checks.fuzz --workers $(WORKERS) $(if $(SEED),--seed $(SEED))

windows: $(STAMP) ## Measure sliding windows on the RTL of whole boards (minutes)
	@$(BIN)/python -m spiccato_sim.checks.windows

gates: $(STAMP) ## Simulate the netlist that yosys makes for an ECP5 in the place of the RTL (many minutes)
	@$(BIN)/python -m pytest -q -m slow --require-simulation tests/system/test_gates.py

mutate: $(STAMP) ## Put faults into the hardware and see that a test fails on each (many minutes)
	@$(BIN)/python tests/support/mutations.py

lint: $(STAMP) ## Have Verilator and yosys check the Verilog of BOARD
	@$(BIN)/spiccato lint --board $(BOARD) $(profile)

equivalence: $(STAMP) ## Prove the Verilog of BOARD equal to Amaranth's netlist, module by module (many minutes)
	@$(BIN)/python -m spiccato_sim.checks.equivalence $(BOARD) $(PROFILE)

timing: $(STAMP) ## Measure the logic depth between registers, and what each reaches: all boards and profiles, or BOARD's
	@$(BIN)/spiccato timing $(if $(call given,BOARD),--board $(BOARD)) $(profile)

bench: $(STAMP) ## Run the benchmark: all boards and models, or only BOARD and MODEL if given
	@$(BIN)/spiccato bench $(if $(call given,BOARD),--board $(BOARD)) $(profile) $(if $(call given,MODEL),--model $(MODEL))

explore: $(STAMP) ## Predict what accelerators BOARD could have for MODEL (or several) to build/explore (resumes)
	@$(BIN)/spiccato explore $(MODEL) --board $(BOARD) $(profile) --workers $(WORKERS) \
		$(if $(CONTEXTS),--contexts $(CONTEXTS))

scaling: $(STAMP) .venv/installed-gowin ## Place and route growing accelerators with open tools to build/scaling (hours; resumes)
	@$(BIN)/python -m spiccato_sim.analysis.scaling $(profile) $(if $(SEEDS),--seeds $(SEEDS))

.venv/installed-gowin: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[gowin]'
	@touch $@

docs: $(STAMP) ## Build the documentation as a site in build/docs
	@$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

clean: ## Remove what was built, but keep .venv
	rm -rf build dist .pytest_cache
