# make bench: measurements, never part of make test. Each writes one file of build/bench.
# BENCH_CASES=idle,free BENCH_RUNS=5 make bench-migrate: only these; the other cases stay in the file.
BENCH_DIR := $(BUILD)/tests/bench
BENCH_MIGRATE := $(BENCH_DIR)/bench_limit $(BENCH_DIR)/policyd-migrate-plain
.PHONY: bench bench-migrate bench-migrate-programs
bench: bench-migrate
bench-migrate-programs: programs guest $(BENCH_MIGRATE)
bench-migrate: deps
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) bench-migrate-programs
	@python3 tests/bench/bench_migrate.py --build $(BUILD)

$(BENCH_DIR)/bench_limit: $(BUILD)/obj/tests/bench/bench_limit.o $(AR_migrate)
	@mkdir -p $(@D)
	$(call link,$^)
# With channels that do not encrypt, to measure what TLS costs. Never installed. The object comes before the archive that has the real ones.
$(BENCH_DIR)/policyd-migrate-plain: $(BUILD)/obj/migrate/main.o $(BUILD)/obj/tests/bench/plain_conn.o $(AR_migrate)
	@mkdir -p $(@D)
	$(call link,$^)

# The data plane alone, and what each of its parts costs.
BENCH_XFER_O := $(BUILD)/obj/tests/bench/bench_xfer.o
$(BENCH_DIR)/bench_xfer: $(BENCH_XFER_O) $(call room_o,$(SRC_tsup)) $(AR_all)
	@mkdir -p $(@D)
	$(call link,$^ -lcmocka)
$(BENCH_DIR)/bench_xfer_plain: $(BENCH_XFER_O) $(BUILD)/obj/tests/bench/plain_conn.o $(call room_o,$(SRC_tsup)) $(AR_all)
	@mkdir -p $(@D)
	$(call link,$^ -lcmocka)
.PHONY: bench-xfer
bench: bench-xfer
bench-xfer: deps
	@$(MAKE) --no-print-directory $(BENCH_DIR)/bench_xfer $(BENCH_DIR)/bench_xfer_plain
	@mkdir -p $(BUILD)/bench
	@$(BENCH_DIR)/bench_xfer -o $(BUILD)/bench/xfer.json
	@echo "without TLS, for comparison"
	@$(BENCH_DIR)/bench_xfer_plain -t -o $(BUILD)/bench/xfer-plain.json

# How far predictions lie from what then happens. PARTS="0 1": these guests of the matrix only; earlier parts are kept and counted until FRESH=1.
.PHONY: bench-predict
bench: bench-predict
bench-predict: deps
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) programs guest
	@python3 tests/bench/bench_predict.py --build $(BUILD) $(if $(FRESH),--fresh) $(foreach p,$(PARTS),--part $(p))

# How long deciding takes, by the number of hosts.
$(BENCH_DIR)/bench_decide: $(BUILD)/obj/tests/bench/bench_decide.o $(AR_all)
	@mkdir -p $(@D)
	$(call link,$^)
.PHONY: bench-decide
bench: bench-decide
bench-decide: deps
	@$(MAKE) --no-print-directory $(BENCH_DIR)/bench_decide
	@mkdir -p $(BUILD)/bench
	@$(BENCH_DIR)/bench_decide -o $(BUILD)/bench/decide.json

# How quickly, smoothly and steadily guests are resized in place, beside a law like MoM's. BENCH_RUNS=1: once.
.PHONY: bench-resize
bench: bench-resize
bench-resize: deps
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) programs guest
	@python3 tests/bench/bench_resize.py --build $(BUILD)
