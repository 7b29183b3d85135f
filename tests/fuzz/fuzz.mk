# make fuzz: every tests/fuzz/fuzz_NAME.c under AddressSanitizer and UBSan for FUZZ_SECONDS each. A fuzzer's first comment has a
# line "corpus: FILE|FOLDER ...". The entry point is libFuzzer's.
FUZZ_SECONDS ?= 20
FUZZ_C   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_C))

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/driver.o $(call room_o,$(SRC_tsup)) $(AR_all)
	@mkdir -p $(@D)
	$(call link,$^ -lcmocka)

# A short run of each is part of make unit and make test: tests/run.py.
unit-programs: $(FUZZ_BIN)

.PHONY: fuzz fuzz-run
fuzz:
	@$(MAKE) --no-print-directory SAN=address,undefined fuzz-run

fuzz-run: $(FUZZ_BIN)
	@bad=0; for f in $(FUZZ_BIN); do \
		corpus=$$(sed -n 's/^.*corpus: *\([^*]*\).*$$/\1/p' tests/fuzz/$${f##*/}.c | head -n 1); \
		echo "$${f##*/}: $$corpus"; \
		FUZZ_CRASH=$$f.crash $$f -n 1000000000 -t $(FUZZ_SECONDS) $$corpus || { bad=1; echo "FAILED; the input is $$f.crash"; }; \
	done; exit $$bad
