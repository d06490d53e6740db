# `make demo` and `make test` set up everything they need, given python3.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs clean

$(VENV)/demo.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[samples]'
	touch $@

# torchattacks without what it pins: an old requests, which would have pip search through old versions
# of all else.
$(VENV)/dev.stamp: $(VENV)/demo.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'torchattacks>=3.4'
	touch $@

demo: $(VENV)/demo.stamp
	$(BIN)/aliascope evaluate --model efficientnet_lite0 --data samples --output runs/demo --resume
	$(BIN)/aliascope plot energy runs/demo
	$(BIN)/aliascope plot pie runs/demo
	$(BIN)/aliascope evaluate --model oscillations --data oscillations --batch-size 100 --output runs/demo-oscillations --resume
	$(BIN)/aliascope plot energy runs/demo-oscillations
	$(BIN)/aliascope plot pie runs/demo-oscillations
	$(BIN)/aliascope ablate --model efficientnet_lite0 --data samples --interventions remove,restore,gain,low --sites stages --output runs/demo-ablation --resume
	@echo
	@echo 'Twenty photographs leave wide intervals. Of a thousand oscillations:'
	$(BIN)/aliascope ablate --model oscillations --data oscillations --max-samples 1000 --batch-size 100 --sites stages --output runs/demo-oscillations-ablation --resume
	@echo
	@echo 'Next, try (. $(BIN)/activate makes `aliascope` a command):'
	@echo '  aliascope sites --model torchvision:resnet34'
	@echo '  aliascope evaluate --model torchvision:resnet34 --data samples   # downloads the weights'
	@echo '  aliascope evaluate --model efficientnet_lite0 --data FOLDER_OF_YOUR_IMAGES'

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

docs: $(VENV)/dev.stamp
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
