# make policy-reference: docs/policy-reference.md from the schema table; a unit test compares them.
.PHONY: policy-reference
policy-reference: $(BUILD)/tests/unit/conf/test_reference
	@BALLAST_REFERENCE_WRITE=1 $<
