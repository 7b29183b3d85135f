.PHONY: demo
demo: deps
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) programs guest
	@python3 tests/demo/demo.py --build $(BUILD)
