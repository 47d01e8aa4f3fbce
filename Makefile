# Everything runs in .venv, which the targets create. Requires Python 3.11 or newer with venv, and make.

PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo base pages addition test slow test-all browser coverage floors versions lint types format docs man picture gallery reliability bench speed smoke check clean

help:  ## show this menu
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

setup: .venv/dev  ## create .venv with charlstm and the development tools

demo: .venv/runtime  ## install, train on the bundled posts, starting from @english, and print a sample
	$(BIN)/charlstm train @tweets --init-from @english --time 90s -o tweets.npz --force
	@printf '\n--- a sample (charlstm sample tweets.npz -n 1000):\n'
	@$(BIN)/charlstm sample tweets.npz -n 1000
	@echo

ENGLISH ?= english.txt
base: .venv/runtime  ## train the bundled model @english on the text ENGLISH (two hours), and store it in data/
	$(BIN)/pip install -q --disable-pip-version-check numba
	$(BIN)/charlstm train $(ENGLISH) -c data/english.yaml -o english.npz $(if $(wildcard english.npz),--resume)
	$(BIN)/charlstm convert english.npz -o data/english.npz --int8 --force

pages: .venv/runtime  ## train on the bundled posts, and write two web pages about the model into pages/
	mkdir -p pages
	$(BIN)/charlstm train @tweets -c tweets -o pages/tweets.npz --force
	$(BIN)/charlstm export pages/tweets.npz -o pages/tweets.html --title "Posts" --force
	$(BIN)/charlstm report pages/tweets.npz @tweets -o pages/tweets-report.html --title "A model of posts" --force

addition: .venv/runtime  ## learn to add, in binary and in decimal, and answer held-out sums
	$(BIN)/python data/make_addition.py
	$(BIN)/charlstm train data/addition.txt -c addition -o addition.npz --force
	$(BIN)/python benchmarks/addition.py addition.npz data/addition-exam.txt
	$(BIN)/python data/make_addition.py --decimal
	$(BIN)/charlstm train data/addition-decimal.txt -c addition --weight-decay 0.2 -o addition-decimal.npz --force
	$(BIN)/python benchmarks/addition.py addition-decimal.npz data/addition-decimal-exam.txt

test: .venv/dev  ## run the fast tests on all cores
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not browser" $(COVERAGE)

slow: .venv/dev  ## run the slow tests
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m slow

test-all: test slow  ## run all tests but those in browsers

browser: .venv/dev  ## test exported pages in Chromium and Firefox, which must be installed
	$(BIN)/python -m pytest -q -m browser tests/browser

coverage:  ## run the fast tests, and check that they cover 97 % of lines and branches
	$(MAKE) test COVERAGE="--cov --cov-report=term:skip-covered"

floors:  ## run the fast tests with the oldest dependencies that setup.cfg allows
	rm -rf .venv-floors && $(PYTHON) -m venv .venv-floors
	sed -n '/^install_requires/,/^$$/s/>=/==/p' setup.cfg > .venv-floors/requirements.txt
	.venv-floors/bin/pip install -q --disable-pip-version-check -r .venv-floors/requirements.txt $$(sed -n '/^fast =/,/^dev =/s/>=/==/p' setup.cfg) pytest pytest-timeout pytest-xdist hypothesis matplotlib python-docx html5lib pyte safetensors charset-normalizer backports.zstd mpi4py mpich
	.venv-floors/bin/pip install -q --disable-pip-version-check --no-deps -e .
	.venv-floors/bin/python -m pytest -q -n auto --dist worksteal -m "not slow and not browser" --ignore tests/network/test_parity.py
	rm -rf .venv-floors

VERSIONS ?= 3.11 3.12 3.13
versions:  ## run the fast tests, except parity with PyTorch, with each Python found under pyenv or on PATH
	@for version in $(VERSIONS); do \
	    python=$$(for each in "$$HOME"/.pyenv/versions/$$version.*/bin/python python$$version; do \
	        "$$each" --version > /dev/null 2>&1 && echo "$$each"; done | head -n 1); \
	    if [ -z "$$python" ]; then echo "Python $$version: not found, not tested"; continue; fi; \
	    echo "Python $$version: $$python"; \
	    rm -rf .venv-version && "$$python" -m venv .venv-version && \
	    .venv-version/bin/pip install -q --disable-pip-version-check -e '.[dev]' && \
	    .venv-version/bin/python -m pytest -q -n auto --dist worksteal -m "not slow and not browser" --ignore tests/network/test_parity.py || exit 1; \
	done; rm -rf .venv-version

lint: .venv/dev  ## check for mistakes and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev  ## check the types
	$(BIN)/mypy
	$(BIN)/mypy --check-untyped-defs --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls tests

format: .venv/dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev  ## generate docs/cli.md from --help, and the figures and numbers of docs/lstm.md
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/figures.py
	$(BIN)/python docs/worked_example.py

man: .venv/dev  ## write man pages into man/
	$(BIN)/python docs/generate.py --man man

picture: .venv/benchmarks  ## draw docs/session.svg, the terminal session of the README
	$(BIN)/python benchmarks/session.py

gallery: .venv/dev  ## train an LSTM with each of the usual mistakes, and write docs/debugging.md (half an hour)
	PYTHONPATH=tests $(BIN)/python benchmarks/debugging.py

reliability: .venv/dev  ## try millions of faults, kills and mutations, and write docs/reliability.md (half an hour)
	PYTHONPATH=tests $(BIN)/python tests/reliability.py

bench: .venv/dev  ## measure start-up time, and learning on the bundled posts
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/learning.py data/tweets.txt -c tiny

speed: .venv/benchmarks  ## measure training, sampling, scaling and MPI, compared with PyTorch
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/sample_speed.py
	$(BIN)/python benchmarks/scaling.py --picture docs/scaling.svg
	$(BIN)/python benchmarks/mpi.py --picture docs/scaling-mpi.svg

smoke:  ## build the wheel and use it in an empty environment
	rm -rf build dist .venv-smoke && mkdir -p dist
	$(PYTHON) -m venv .venv-smoke
	.venv-smoke/bin/pip install -q --disable-pip-version-check --no-cache-dir build
	.venv-smoke/bin/python -m build -q --wheel --outdir dist .
	rm -rf .venv-smoke && $(PYTHON) -m venv .venv-smoke
	.venv-smoke/bin/pip install -q --disable-pip-version-check dist/charlstm-*.whl
	cd dist && ../.venv-smoke/bin/charlstm train @tweets -c tiny -o smoke.npz --force -q
	cd dist && ../.venv-smoke/bin/charlstm sample --ckpt smoke.npz -n 80 > /dev/null
	cd dist && ../.venv-smoke/bin/charlstm score --ckpt smoke.npz @tweets
	rm -rf build dist .venv-smoke

check: lint types test  ## everything that a commit must pass

clean:  ## remove what the other targets create
	rm -rf .venv .venv-floors .venv-smoke .venv-version build man dist *.egg-info tweets.npz addition*.npz data/addition*.txt .pytest_cache .coverage* .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

data/tinyshakespeare.txt: data/download.py  ## download the classic corpus
	$(PYTHON) data/download.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/dev: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch .venv/runtime $@

.venv/benchmarks: .venv/dev
	$(BIN)/pip install -q --disable-pip-version-check -e '.[benchmarks]'
	@touch $@
