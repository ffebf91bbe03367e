# What a person types, and how `sam build` collects each function's bundle.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A folder in functions is a function, a package of the workspace, and <folder>Function in template.yaml.
FUNCTIONS := $(patsubst functions/%/Cargo.toml,%,$(wildcard functions/*/Cargo.toml))
# The local stack runs what the tests run: one build for both.
HOOPOE := target/debug/hoopoe
STATE ?= target/local
# The tests have a stack of their own, beside the one a person talks to.
TEST_STATE := target/test
# The processor that `make functions` compiles for: x86_64 or arm64.
ARCHITECTURE ?= x86_64
# Where `make install` puts the command: into its folder bin.
PREFIX ?= $(HOME)/.local
# Which binaries go into the bundles: `lambda`, those of `make functions`, or `local`, those of `make up`.
BINARIES ?= lambda
# The knowledge that `make functions` and `make knowledge` put beside their binaries: what `sam build` ships.
STAGED := target/lambda/knowledge
# The folder of the built knowledge that goes into the bundles; the local stack's leads to that of its pack.
KNOWLEDGE ?= $(if $(filter local,$(BINARIES)),$(STATE)/knowledge,$(STAGED))

# ---- What a person types ----

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: up
up: $(HOOPOE) ## Start the local stack: builds and deploys what changed (PACK=folder, CHANNELS=telegram,webchat).
	@$(HOOPOE) --state $(STATE) up $(if $(PACK),--pack "$(PACK)") $(if $(CHANNELS),--channels "$(CHANNELS)")

.PHONY: down
down: $(HOOPOE) ## Stop the local stack; its state stays.
	@$(HOOPOE) --state $(STATE) down

.PHONY: clean-local
clean-local: ## Stop the local stack and forget its state.
	@if test -x $(HOOPOE); then $(HOOPOE) --state $(STATE) down; fi
	rm -rf $(STATE)

# A link: the command finds the project through it, and a later build is the one that runs.
.PHONY: install
install: $(HOOPOE) ## Put `hoopoe` on your path, as a link in ~/.local/bin (PREFIX=/usr/local for another place).
	@test -L "$(PREFIX)/bin/hoopoe" || test ! -e "$(PREFIX)/bin/hoopoe" || { \
		echo "$(PREFIX)/bin/hoopoe is there already and no link: remove it first, or choose another PREFIX" >&2; exit 1; }
	@mkdir -p "$(PREFIX)/bin" && ln -sfn "$(CURDIR)/$(HOOPOE)" "$(PREFIX)/bin/hoopoe"
	@echo "$(PREFIX)/bin/hoopoe leads to $(CURDIR)/$(HOOPOE); \`make uninstall\` removes it"
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) \
		echo "$(PREFIX)/bin is not on your PATH. Add this line to ~/.profile and run it here: export PATH=\"$(PREFIX)/bin:\$$PATH\"";; esac

.PHONY: uninstall
uninstall: ## Remove the link of `make install`.
	@test -L "$(PREFIX)/bin/hoopoe" || { echo "there is no link $(PREFIX)/bin/hoopoe" >&2; exit 1; }
	@rm "$(PREFIX)/bin/hoopoe" && echo "removed $(PREFIX)/bin/hoopoe; what was built stays in target"

.PHONY: test
test: test-unit test-e2e test-browser ## Run all tests; the last two on a local stack of their own.
	@$(HOOPOE) --state $(TEST_STATE) down

# The histories from 478 on that break the order of two replies are listed in tests/world/FAULTS.md, as open.
.PHONY: test-unit
test-unit: shop ## Run the tests that need no stack.
	cargo test --locked
	@$(MAKE) --no-print-directory world HISTORIES=470
	target/venv/model/bin/python -m unittest discover --quiet infra/model

# SEED=n plays one history and shows it; HISTORIES=n plays many, on all processors.
.PHONY: world
world: ## Try the message path in a hostile world (SEED=n for one history to read, HISTORIES=n for many).
	@cargo run --locked --quiet --package world -- $(if $(SEED),--seed $(SEED),--histories $(or $(HISTORIES),1000))

.PHONY: write-units
write-units: ## Count what a message costs in DynamoDB's write units, on each channel and in a long conversation.
	@cargo run --locked --quiet --package world --bin write-units

# FAULT=name plays one of tests/world/faults, HISTORIES=n as many at most for each.
.PHONY: world-faults
world-faults: ## Put faults back into the message path and show which history finds each (FAULT=name, HISTORIES=n).
	@tests/world/faults/run $(FAULT) $(if $(HISTORIES),--histories $(HISTORIES))

.PHONY: test-stack
test-stack: $(HOOPOE)
	@$(HOOPOE) --state $(TEST_STATE) up

# TEST=keys runs one file of tests/e2e/tests, and shows what its tests print.
.PHONY: test-e2e
test-e2e: test-stack ## Send signed messages through the stack, with stand-ins for the platforms (TEST=keys for one file).
	HOOPOE=$(CURDIR)/$(HOOPOE) HOOPOE_STATE=$(CURDIR)/$(TEST_STATE) \
		cargo test --locked --package e2e $(if $(TEST),--test $(TEST) -- --nocapture --test-threads 1)

.PHONY: test-browser
test-browser: test-stack chromium ## Talk to the web chat page in Chromium.
	cd tests/browser && npm ci --no-audit --no-fund && WEBCHAT_URL="$$(sed -n 's/^ *"webchat": "\(.*\)",$$/\1/p' $(CURDIR)/$(TEST_STATE)/stack.json)" npm test

# The browser of the page's test, from Debian's packages where it is missing and that is allowed.
.PHONY: chromium
chromium:
	@test -x "$${CHROMIUM:-/usr/bin/chromium}" || { echo "Fetching Chromium from Debian's packages"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || { \
		echo "Chromium is missing: sudo apt install chromium, or set CHROMIUM to the program" >&2; exit 1; }

# The compiler is told to allow the flags of coverage and sanitizer, which else only its nightly builds do.
# Seconds for each target of `make fuzz`, and which channels.
SECONDS ?= 60
CHANNEL ?= $(filter-out webchat inference deliver rotate,$(FUNCTIONS))
CARGO_FUZZ := 0.13.2

.PHONY: fuzz
fuzz: ## Throw arbitrary requests at each channel's receiving side (CHANNEL=slack SECONDS=600 for one, longer).
	@test -x target/tools/bin/cargo-fuzz || cargo install --quiet --locked --root target/tools --version $(CARGO_FUZZ) cargo-fuzz
	@for channel in $(CHANNEL); do \
		mkdir -p target/fuzz/corpus/$$channel; \
		echo "$$channel: $(SECONDS) s"; \
		RUSTC_BOOTSTRAP=1 CHANNEL=$$channel target/tools/bin/cargo-fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz webhook \
			target/fuzz/corpus/$$channel tests/fixtures/$$channel -- \
			-max_total_time=$(SECONDS) -max_len=8192 -print_final_stats=1 >target/fuzz/$$channel.log 2>&1 \
			|| { tail -40 target/fuzz/$$channel.log; exit 1; }; \
		grep -hE "stat::number_of_executed_units|cov: [0-9]+" target/fuzz/$$channel.log | tail -2 | sed -E 's/.*(cov: [0-9]+ ft: [0-9]+).*/  \1/; s/stat::number_of_executed_units: /  executions: /'; \
	done

# The benchmarks one after the other, on the release binaries; each is also a target of its own.
.PHONY: bench
bench: binaries bench-encoder bench-start bench-path bench-peers bench-cost bench-report ## Measure everything against limits and peers: a report in target/bench (QUICK=1 for a short run).

.PHONY: bench-report
bench-report: target/venv/bench/requirements.txt ## Write the report of what was measured (KEEP=1 puts it into tests/bench/results).
	@target/venv/bench/bin/python tests/bench/report/report.py
	@$(if $(KEEP),mkdir -p tests/bench/results && cp target/bench/report.md target/bench/*.svg tests/bench/results/)

# Python packages of the report and of the encoder's peers; what this leaves behind is whole or not there.
target/venv/bench/requirements.txt: tests/bench/report/requirements.txt
target/venv/bench-encoder/requirements.txt: tests/bench/encoder/requirements.txt
target/venv/bench/requirements.txt target/venv/bench-encoder/requirements.txt:
	rm -rf $(@D)
	python3 -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		--requirement $<
	cp $< $@

# Its counter of instructions is valgrind, from Debian's packages where it is missing and that is allowed.
.PHONY: guard
guard: ## Compare allocations and instructions with the stored counts (ACCEPT=1 to store what is counted now).
	@command -v valgrind >/dev/null || { echo "Fetching valgrind from Debian's packages"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind >/dev/null; } || { \
		echo "valgrind is missing: sudo apt install valgrind" >&2; exit 1; }
	@cargo build --locked --profile guard --package guard
	@target/guard/guard $(if $(ACCEPT),--accept)

.PHONY: bench-cost
bench-cost: $(HOOPOE) ## Write what a month on AWS costs into target/bench/cost.json.
	@tests/bench/cost.py $(HOOPOE)

# Both run the binaries of `make functions`. The peer's redis-server is fetched from Debian's packages where it is missing
# and that is allowed.
.PHONY: bench-start
bench-start: shop ## Measure the cold start of every function, into target/bench/start.json (QUICK=1 for a short run).
	@tests/bench/start.py

.PHONY: bench-peers
bench-peers: shop ## Measure the inference function beside peers in Python, into target/bench/peers.json (QUICK=1).
	@command -v redis-server >/dev/null || { echo "Fetching redis-server from Debian's packages"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; } || { \
		echo "redis-server is missing: sudo apt install redis-server" >&2; exit 1; }
	@tests/bench/peers/bench.py

.PHONY: bench-path
bench-path: KNOWLEDGE := target/knowledge/shop
bench-path: shop build-inferenceFunction ## Measure the whole way of a message on the binaries of `make functions` (QUICK=1 for a short run).
	cargo build --release --locked --package path
	target/release/path $(if $(QUICK),--quick)

.PHONY: bench-encoder
bench-encoder: $(HOOPOE) target/venv/bench-encoder/requirements.txt ## Measure the encoder against its limit and its peers (QUICK=1, DATA=folder of labelled files).
	@$(HOOPOE) model build --keep-fp32
	cargo build --release --locked --manifest-path tests/bench/encoder/Cargo.toml --target-dir target/bench/build
	target/venv/bench-encoder/bin/python tests/bench/encoder/export.py --out target/bench/encoder-peers
	taskset -c 1 target/venv/bench-encoder/bin/python tests/bench/encoder/variants.py
	tests/bench/encoder/run.py $(if $(DATA),--data $(DATA))

.PHONY: lint-template
lint-template: tools ## Let SAM and cfn-lint check template.yaml.
	target/venv/sam/bin/sam validate --lint --template template.yaml

.PHONY: tools
tools: $(HOOPOE) ## Fetch SAM, cargo-lambda and the emulator into target/venv, pinned and hashed.
	@$(HOOPOE) tools

.PHONY: model
model: $(HOOPOE) ## Build the default model.
	@$(HOOPOE) model build

.PHONY: shop
shop: model ## Build the index of the shop's pack, which tests and benchmarks read.
	@$(HOOPOE) knowledge build >/dev/null

# Whole or as it was before; without PACK, the pack of the last time. There is no other default: a bot that is deployed
# once more must not become the shop's.
.PHONY: knowledge
knowledge: model ## Build a pack for AWS (PACK=folder; kept until another is named); then `sam build`.
	@pack="$(PACK)"; test -n "$$pack" || pack="$$(cat $(STAGED)/pack 2>/dev/null)" || { \
		echo "which knowledge pack? PACK=folder names it, such as PACK=infra/packs/shop" >&2; exit 1; }; \
	rm -rf $(STAGED).new && mkdir -p $(STAGED).new && realpath "$$pack" >$(STAGED).new/pack && \
	built="$$($(HOOPOE) knowledge build --pack "$$pack")" && \
	for file in knowledge.idx page.json; do test ! -f $$built/$$file || cp $$built/$$file $(STAGED).new/ || exit 1; done && \
	rm -rf $(STAGED) && mv $(STAGED).new $(STAGED) && \
	echo "sam build now ships the knowledge pack $$pack (PACK=folder ships another)"

.PHONY: binaries
binaries: model tools ## Compile the functions for Lambda (ARCHITECTURE=arm64 for Graviton).
	PATH="$(CURDIR)/target/venv/sam/bin:$$PATH" cargo lambda build --release --locked \
		$(if $(filter arm64,$(ARCHITECTURE)),--arm64,--x86-64) $(FUNCTIONS:%=--package %)
	@rm -rf target/onnxruntime && mkdir -p target/onnxruntime target/lambda/inference/lib
	@sed -n '/^onnxruntime==/,/[^\\]$$/p' infra/model/requirements.txt >target/onnxruntime/requirements.txt
	target/venv/sam/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		--only-binary :all: --platform manylinux_2_28_$(ARCHITECTURE:arm64=aarch64) --python-version 3.12 \
		--target target/onnxruntime --requirement target/onnxruntime/requirements.txt
	cp target/onnxruntime/onnxruntime/capi/libonnxruntime.so.* target/lambda/inference/lib/libonnxruntime.so

.PHONY: functions
functions: knowledge binaries ## Both, for AWS: a pack (PACK=folder) and the functions; then `sam build`.

# One call of cargo for the command and the functions: compiled apart, they would choose features of their shared
# dependencies apart, and compile those twice.
.PHONY: $(HOOPOE)
$(HOOPOE):
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs installs it" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt install build-essential, dnf install gcc, or xcode-select --install" >&2; exit 1; }
	@cargo build --locked --package hoopoe $(FUNCTIONS:%=--package %)

# ---- What `sam build` runs, with ARTIFACTS_DIR set ----

binary = $(if $(filter local,$(BINARIES)),target/debug/$(1),target/lambda/$(1)/bootstrap)
bundle = $(or $(ARTIFACTS_DIR),target/bundles/$(1))

# Those of the local stack go without their symbols, which are half of them.
define collect
	@test -d functions/$(1) || { echo "there is no function $(1); those of functions/ are: $(FUNCTIONS)" >&2; exit 1; }
	@test -f $(call binary,$(1)) || { echo "$(call binary,$(1)) is missing: run 'make functions PACK=folder' first" >&2; exit 1; }
	@mkdir -p $(call bundle,$(1))
	$(if $(filter local,$(BINARIES)),strip -o $(call bundle,$(1))/bootstrap $(call binary,$(1)) 2>/dev/null || )cp $(call binary,$(1)) $(call bundle,$(1))/bootstrap
endef

# What goes to AWS says what it is, and is not older than its pack.
define known
@test -f $(KNOWLEDGE)/knowledge.idx || { \
	echo "$(KNOWLEDGE)/knowledge.idx is missing: run $(if $(filter local,$(BINARIES)),'make up','make functions PACK=folder') first" >&2; exit 1; }
@test ! -f $(KNOWLEDGE)/pack || { pack="$$(cat $(KNOWLEDGE)/pack)"; echo "Knowledge pack: $$pack"; \
	test -z "$$(find "$$pack" -type f -newer $(KNOWLEDGE)/pack 2>/dev/null)" || { \
	echo "$$pack has changed since it was built: run 'make knowledge' first" >&2; exit 1; }; }
endef

.PHONY: build-webchatFunction build-inferenceFunction
build-%Function: ; $(call collect,$*)
build-webchatFunction:
	$(call known)
	$(call collect,webchat)
	@test ! -f $(KNOWLEDGE)/page.json || cp $(KNOWLEDGE)/page.json $(call bundle,webchat)/
build-inferenceFunction:
	$(call known)
	$(call collect,inference)
	@mkdir -p $(call bundle,inference)/lib $(call bundle,inference)/model
	cp $(if $(filter local,$(BINARIES)),target/model/current,target/lambda/inference)/lib/libonnxruntime.so $(call bundle,inference)/lib/
	cp $(addprefix target/model/current/,model.onnx weights.bin tokenizer.bin manifest.json) $(call bundle,inference)/model/
	cp $(KNOWLEDGE)/knowledge.idx $(call bundle,inference)/
