/* A skip that says why; tests/run.py shows the sentence. After cmocka.h. Does not return. */
#ifndef TESTS_UNIT_SUPPORT_SKIP_H
#define TESTS_UNIT_SUPPORT_SKIP_H

#define skip_because(...)                                                                                              \
	do {                                                                                                           \
		print_message("SKIP: " __VA_ARGS__);                                                                   \
		print_message("\n");                                                                                   \
		skip();                                                                                                \
	} while (0)

#endif
