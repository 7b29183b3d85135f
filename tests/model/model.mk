# make model: the hand-off's model with a larger budget of faults; make test walks the smaller one (unit/migrate/test_model).
MODEL_TEST := $(BUILD)/tests/unit/migrate/test_model
$(MODEL_TEST): $(BUILD)/obj/tests/model/handoff_model.o $(BUILD)/obj/tests/model/handoff_actors.o
$(MODEL_TEST): LIBS = $(AR_migrate) $(PKG_LIBS) -lm

model: $(MODEL_TEST)
	@MODEL_DEEP=1 $(MODEL_TEST)
