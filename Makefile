# Two commands do all set-up: `make demo` and `make test`. They need python3 (3.10 to 3.13) and make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test nightly lint bench chaos chaos-sweep mutants lock clean test-hydra-next test-modal-oldest

demo: $(VENV)/.demo  ## evaluate a real, third-party world model and record the run
	$(BIN)/worldflux-run +recipe=tiny-jepa-eval

test: $(VENV)/.dev  ## install what the tests need, then run all of them
	tests/run-all $(BIN)

nightly: $(VENV)/.dev  ## all tests with all their cases: each command started cold, a kill at every call, 50 requests of each operation
	WORLDFLUX_TEST_NIGHTLY=1 WORLDFLUX_TEST_COLD=1 tests/run-all $(BIN)
	$(MAKE) chaos chaos-sweep

lint: $(VENV)/.dev  ## style, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev  ## print ratios against references measured in the same run
	for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench || exit 1; done

chaos: $(VENV)/.dev  ## 200 schedules of disasters for sync on SQLite, 50 on PostgreSQL
	WORLDFLUX_TEST_CHAOS=200 WORLDFLUX_TEST_REQUIRE_ALL=1 $(BIN)/pytest -q -n 2 tests/sync/chaos

mutants: $(VENV)/.dev  ## every known-bad design must make a test fail
	$(BIN)/python tests/mutants/run.py

chaos-sweep: $(VENV)/.dev  ## a sweep of 300 jobs, killed at 20 random moments and resumed
	WORLDFLUX_TEST_CHAOS=300x20 $(BIN)/python -m pytest -q tests/cli/test_sweep_chaos.py

lock: | $(VENV)/bin/python  ## renew the lock of the development environment
	$(BIN)/python -m pip install -q --no-input 'uv>=0.11.28'
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes \
	  --python-version 3.10 --no-header --no-annotate --no-emit-index-url --no-emit-find-links -q -o requirements.lock

test-hydra-next: $(VENV)/.dev  ## the suite on the newest pre-release of Hydra
	test -d $(VENV)-next || $(BIN)/uv venv -q --python $(BIN)/python $(VENV)-next
	$(BIN)/uv pip install -q --compile-bytecode --python $(VENV)-next/bin/python --prerelease allow -e '.[dev]' 'hydra-core>=1.4.0rc1,<1.5'
	tests/run-all $(VENV)-next/bin

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); WorldFlux needs Python 3.10 to 3.13"; \
	  echo "  make PYTHON=python3.12 demo"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) can not make virtual environments"; \
	  echo "  Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# pip compiles what it installs, so the first command is as quick as the second.
$(VENV)/.demo: pyproject.toml requirements.lock | $(VENV)/bin/python
	tests/install $(BIN) run
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	tests/install $(BIN) dev
	@touch $@ $(VENV)/.demo

test-modal-oldest: $(VENV)/.dev  ## the tests of runtime=modal on the oldest SDK that is allowed
	test -d $(VENV)-modal || $(BIN)/uv venv -q --python $(BIN)/python $(VENV)-modal
	$(BIN)/uv pip install -q --compile-bytecode --python $(VENV)-modal/bin/python -e '.[dev]' 'modal==1.5.5'
	$(VENV)-modal/bin/python -m pytest -q tests/runtime/test_modal_plugin.py tests/runtime/test_modal_ends.py \
	  tests/runtime/test_modal_command.py tests/runtime/test_modal_doctor.py \
	  tests/runtime/test_vendors_end_to_end.py tests/runtime/test_vendors_killed.py

clean:
	rm -rf $(VENV) $(VENV)-next $(VENV)-modal build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
