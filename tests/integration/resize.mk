# resize/ and watch/ driven on a real guest without policyd (test_resize.py)
$(BUILD)/tests/integration/resize_drive: $(BUILD)/obj/tests/integration/resize_drive.o $(AR_all)
	@mkdir -p $(@D)
	$(call link,$^)
unit-programs: $(BUILD)/tests/integration/resize_drive
